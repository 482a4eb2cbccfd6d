"""Read plain data into frozen dataclasses; an unknown key is an error with a suggestion."""

from __future__ import annotations

import types
from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from genesys.errors import ConfigError, suggest

T = TypeVar("T")

_SCALARS = {int: "a whole number", float: "a number", str: "a text", bool: "true or false"}


def read(cls: type[T], data: Mapping[str, Any], where: str = "") -> T:
    """Build a dataclass from a mapping, checking keys and types on the way.

    Args:
        where: Dotted path of the mapping in the file, for messages.

    Raises:
        ConfigError: An unknown or missing key, or a value of the wrong type.
    """
    known = {f.name: f for f in fields(cls)}  # type: ignore[arg-type]
    for key in data:
        if key not in known:
            raise ConfigError(
                f"Cannot use key {_join(where, str(key))!r}: there is no such setting.{suggest(str(key), known)}"
            )
    hints = get_type_hints(cls)
    values = {}
    for name, f in known.items():
        if name in data:
            values[name] = _convert(hints[name], data[name], _join(where, name))
        elif f.default is MISSING and f.default_factory is MISSING:
            raise ConfigError(f"Cannot do without key {_join(where, name)!r}: it has no default. Add it.")
    return cls(**values)


def _convert(hint: Any, value: Any, where: str) -> Any:
    origin = get_origin(hint)
    if hint is Any:
        return value
    if origin in (Union, types.UnionType):
        return _convert_union(get_args(hint), value, where)
    if origin is Literal:
        if value in get_args(hint):
            return value
        choices = ", ".join(map(str, get_args(hint)))
        raise ConfigError(
            f"Cannot use {where} = {value!r}: expected one of {choices}.{suggest(str(value), map(str, get_args(hint)))}"
        )
    if origin is tuple:
        return _convert_tuple(get_args(hint), value, where)
    if origin is not None and issubclass(origin, Mapping):
        if isinstance(value, Mapping):
            return _convert_items(get_args(hint)[1], value, where)
        raise _wrong(where, value, "a mapping")
    if is_dataclass(hint):
        if isinstance(value, Mapping):
            return read(hint, value, where)  # type: ignore[arg-type]
        raise _wrong(where, value, "a mapping")
    return _convert_scalar(hint, value, where)


def _convert_union(choices: tuple[Any, ...], value: Any, where: str) -> Any:
    if value is None and type(None) in choices:
        return None
    candidates = [c for c in choices if c is not type(None)]
    if len(candidates) == 1:
        return _convert(candidates[0], value, where)
    for candidate in candidates:
        try:
            return _convert(candidate, value, where)
        except ConfigError:
            if _is_alike(candidate, value):  # what is wrong is inside
                raise
    raise _wrong(where, value, " or ".join(map(_described, candidates)))


def _is_alike(hint: Any, value: Any) -> bool:
    return isinstance(value, (list, tuple) if get_origin(hint) is tuple else Mapping) and hint not in _SCALARS


def _described(hint: Any) -> str:
    return _SCALARS.get(hint) or ("a list" if get_origin(hint) is tuple else "a mapping")


def _convert_items(item: Any, value: Mapping[Any, Any], where: str) -> dict[str, Any]:
    """Values that are lists or mappings are read; whether plain ones fit is their owner's to say."""
    if get_origin(item) is not tuple and not is_dataclass(item):
        return dict(value)
    return {str(key): _convert(item, each, f"{where}.{key}") for key, each in value.items()}


def _convert_tuple(items: tuple[Any, ...], value: Any, where: str) -> tuple[Any, ...]:
    if not isinstance(value, (list, tuple)):
        raise _wrong(where, value, "a list")
    return tuple(_convert(items[0], item, f"{where}[{i}]") for i, item in enumerate(value))


def _convert_scalar(hint: Any, value: Any, where: str) -> Any:
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if hint is float and isinstance(value, str):  # YAML reads 1e-3 as a text
        try:
            return float(value)
        except ValueError:
            raise _wrong(where, value, "a number") from None
    if isinstance(value, hint) and not (hint is int and isinstance(value, bool)):
        return value
    raise _wrong(where, value, _SCALARS.get(hint, str(hint)))


def _wrong(where: str, value: Any, expected: str) -> ConfigError:
    return ConfigError(f"Cannot use {where} = {value!r}: expected {expected}.")


def _join(where: str, name: str) -> str:
    return f"{where}.{name}" if where else name
