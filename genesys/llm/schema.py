"""Forms of answers: a frozen dataclass as a JSON schema for a provider, and an answer read back into the dataclass."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import cache
from typing import TYPE_CHECKING, Any, get_origin, get_type_hints

if TYPE_CHECKING:
    from pydantic import BaseModel

_BOUNDS = {"maxLength": "max_length", "minimum": "ge", "maximum": "le"}
_MOST_ERRORS = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Schema:
    """The form of one kind of answer.

    Attributes:
        json: JSON schema in the dialect that all providers take: every field required, no others, and bounds said in the
            descriptions, since strict modes refuse them and grammars of `maxLength: 40000` do not compile. We check them.
        text: The same as text.
        hash: SHA-256 of name and text; of a call's id.
    """

    name: str
    json: Mapping[str, Any]
    text: str
    hash: str


def schema_of(answer: type[Any]) -> Schema:
    """The schema of a dataclass whose fields are made by `genesys.roles.answers.said`."""
    form: Any = answer
    return _schema(form)


@cache
def _schema(answer: Any) -> Schema:
    shape = _model(answer).model_json_schema()
    properties = {name: _plain(said) for name, said in shape["properties"].items()}
    form = {
        "type": "object",
        "description": (answer.__doc__ or "").strip(),
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }
    text = json.dumps(form, ensure_ascii=False)
    digest = hashlib.sha256(f"{answer.__name__}\0{text}".encode()).hexdigest()
    return Schema(name=answer.__name__, json=form, text=text, hash=digest)


def validated(answer: type[Any], value: Mapping[str, Any]) -> Any | str:
    """An instance of the dataclass, or what is wrong with the value, in words for whoever wrote it.

    Types are strict (no "4" for 4), bounds hold, NaN and infinity are refused, fields that nobody asked for are ignored.
    """
    from pydantic import ValidationError

    form: Any = answer
    try:
        model = _model(form).model_validate(dict(value))
    except ValidationError as error:
        return _wrongs(error)
    found = {field.name: getattr(model, field.name) for field in fields(answer)}
    if spoilt := [name for name, text in found.items() if _has_nul(text)]:
        return f"`{spoilt[0]}`: holds the character NUL"
    return answer(**found)


@cache
def _model(answer: Any) -> type[BaseModel]:
    from pydantic import ConfigDict, Field, create_model

    hints = get_type_hints(answer)
    members: dict[str, Any] = {}
    for field in fields(answer):
        said: dict[str, Any] = {_BOUNDS[name]: bound for name, bound in field.metadata.items() if name in _BOUNDS}
        if hints[field.name] is float:
            said["allow_inf_nan"] = False
        if get_origin(hints[field.name]) is tuple:
            said["strict"] = False  # JSON knows lists only
        members[field.name] = (hints[field.name], Field(description=field.metadata.get("help"), **said))
    return create_model(answer.__name__, __config__=ConfigDict(extra="ignore", strict=True), **members)


def _plain(said: Mapping[str, Any]) -> dict[str, Any]:
    """A field's schema without what strict modes refuse; its bounds join the description."""
    bounds = []
    if "minimum" in said and "maximum" in said:
        bounds.append(f"from {said['minimum']:g} to {said['maximum']:g}")
    if "maxLength" in said:
        bounds.append(f"at most {said['maxLength']} characters")
    kept = {key: value for key, value in said.items() if key not in ("title", *_BOUNDS)}
    if bounds:
        kept["description"] = f"{kept.get('description', '')} ({', '.join(bounds)})".strip()
    return kept


def _wrongs(error: Any) -> str:
    wrongs = error.errors(include_url=False, include_input=False, include_context=False)
    lines = [
        f"`{'.'.join(map(str, wrong['loc']))[:80]}`: {wrong['msg'].replace('tuple', 'list')}"
        for wrong in wrongs[:_MOST_ERRORS]
    ]
    more = len(wrongs) - len(lines)
    return "; ".join(lines) + (f"; and {more} more" if more > 0 else "")


def _has_nul(value: Any) -> bool:
    return "\0" in value if isinstance(value, str) else isinstance(value, tuple) and any(map(_has_nul, value))
