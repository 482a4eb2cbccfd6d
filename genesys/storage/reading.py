"""Events out of the texts of a journal, a page at a time."""

from __future__ import annotations

import json
from collections.abc import Callable, ItemsView, Iterable, Iterator, Mapping
from dataclasses import MISSING, Field, fields
from functools import cache, lru_cache, reduce
from operator import or_
from typing import Any, Literal

from genesys.evolution.events import EVENT_MAKERS, EVENT_TYPES, EVENT_VERSION, Event, event_from_json


def read_events(texts: Iterable[str]) -> Iterable[Event]:
    """What `event_from_json` gives for each of these texts, in a fraction of its time.

    Raises:
        ConfigError: See `event_from_json`.
    """
    import msgspec  # here, since whoever only writes needs the standard library alone

    text = f"[{','.join(texts)}]"
    try:
        return _reader()(text)
    except msgspec.DecodeError:  # of a later version, or with the halves of surrogates that `json` writes
        return map(event_from_json, json.loads(text))


class JsonMapping(Mapping[str, Any]):
    """A mapping that is kept as its JSON, a fifth of the memory, and decoded at every look."""

    __slots__ = ("_text",)

    def __init__(self, text: bytes) -> None:
        self._text = text

    def __getitem__(self, key: str) -> Any:
        return self._read()[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._read())

    def __len__(self) -> int:
        return len(self._read())

    def __eq__(self, other: object) -> bool:
        return self._read() == other

    def __repr__(self) -> str:
        return repr(self._read())

    def items(self) -> ItemsView[str, Any]:
        """All of it, decoded once."""
        return self._read().items()

    def _read(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self._text)
        return found


@lru_cache(maxsize=1024)
def _shared(text: bytes) -> dict[str, Any]:
    """One mapping for all fields of the same text; by values it would be one for 1 and 1.0."""
    found: dict[str, Any] = json.loads(text)
    return found


_READ_FROM_TEXT: Mapping[str, Callable[[bytes], Mapping[str, Any]]] = {
    "sizes": JsonMapping,  # rarely looked at
    "odds": _shared, "scores": _shared, "models": _shared,
}  # fmt: skip
"""Fields whose mappings are not made anew for each event: a run holds millions."""


@cache
def _reader() -> Callable[[str], list[Event]]:
    import msgspec

    def specify(field: Field[Any]) -> tuple[Any, ...]:
        if field.name in _READ_FROM_TEXT:
            return field.name, msgspec.Raw, msgspec.Raw(b"{}")
        if field.default_factory is not MISSING:
            return field.name, Any, msgspec.field(default_factory=field.default_factory)
        return (field.name, Any) if field.default is MISSING else (field.name, Any, field.default)

    def maker(kind: str) -> Callable[..., Event]:
        names, make = [f.name for f in fields(EVENT_TYPES[kind])], EVENT_MAKERS[kind]
        texts = [(k, _READ_FROM_TEXT[name]) for k, name in enumerate(names) if name in _READ_FROM_TEXT]
        if not texts:
            return make

        def make_with_texts(*given: Any) -> Event:
            values = list(given)
            for k, read in texts:
                values[k] = read(bytes(values[k]))
            return make(*values)

        return make_with_texts

    version = ("version", Literal[tuple(range(1, EVENT_VERSION + 1))])
    makers = {
        msgspec.defstruct(kind, [*map(specify, fields(cls)), version], tag_field="kind", tag=kind, kw_only=True): maker(
            kind
        )
        for kind, cls in EVENT_TYPES.items()
    }
    decode: Callable[[str], list[Any]] = msgspec.json.Decoder(list[reduce(or_, makers)]).decode  # type: ignore[misc]
    as_tuple = msgspec.structs.astuple
    return lambda text: [makers[found.__class__](*as_tuple(found)[:-1]) for found in decode(text)]
