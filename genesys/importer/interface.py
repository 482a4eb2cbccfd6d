"""Turn one published unit into a `Unit`: what its last line must say is read off the author's text."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping

from genesys.errors import Finding, UnitError
from genesys.gau import Kind, Unit, parse_unit
from genesys.gau.published import class_definitions, method, published_text
from genesys.gau.unit import normalise_source
from genesys.importer.files import PublishedUnit
from genesys.importer.names import Text, borrow, called_as_units, read_text, unit_class

_KINDS: tuple[tuple[Kind, tuple[str, ...]], ...] = (
    ("norm", ("norm",)),
    ("position", ("rotary", "rope", "posit", "posemb")),
    ("channel", ("mlp", "ffn", "feedforward", "feed_forward", "swiglu", "glu", "channelmix")),
)


def unit_texts(units: Mapping[str, PublishedUnit]) -> tuple[dict[str, Text], list[Finding]]:
    """Analyse all units of a design.

    Returns:
        The texts of those that are Python, and a finding for each that is not.
    """
    texts: dict[str, Text] = {}
    findings: list[Finding] = []
    for name, unit in units.items():
        try:
            texts[name] = read_text(normalise_source(unit.code))
        except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
            line = error.lineno if isinstance(error, SyntaxError) else None
            message = error.msg if isinstance(error, SyntaxError) else str(error)
            findings.append(Finding(rule="syntax", unit=name, line=line, measured=message, required="valid Python",
                                    hint="Correct the syntax in the file's `code`."))  # fmt: skip
    return texts, findings


def read_unit(unit: PublishedUnit, texts: Mapping[str, Text], *, is_root: bool) -> Unit:
    """Read one unit of a design.

    Raises:
        UnitError: Its text defines no class that could be the unit.
    """
    text = texts[unit.name]
    name = unit_class(text, unit.name)
    if name is None:
        raise UnitError([Finding(rule="unit-class", unit=unit.name, measured="no class that derives from GAUBase",
                                 required=f"class {unit.name}(GAUBase)", hint="Define the unit's class.")])  # fmt: skip
    slots = _slots(unit, text, texts)
    others = {other: found for other, found in texts.items() if other != unit.name}
    cls = next(c for c in class_definitions(text.module) if c.name == name)
    writes = (*sorted(_written_names(text.module)), *(("*",) if slots else ()))
    return parse_unit(
        published_text(
            text.source,
            name=name,
            kind="block" if is_root else _kind(unit.name),
            slots=slots,
            reads=tuple(f"{read}?" for read in _read_names(cls)),
            writes=writes,
            borrowed=borrow(text.free - set(slots), others),
        )
    )


def unit_behind(slot: str, texts: Mapping[str, Text]) -> str | None:
    """The unit that a name in a text means: its namesake, or the unit whose class has that name."""
    if slot in texts:
        return slot
    return next((name for name, text in texts.items() if unit_class(text, name) == slot), None)


def _slots(unit: PublishedUnit, text: Text, texts: Mapping[str, Text]) -> tuple[str, ...]:
    """Names that stand for children: of units of this design that the text uses; and names that no unit has, but which
    the file declares as children or the text calls like one."""
    used = {name for name in text.free if unit_behind(name, texts) is not None}
    missing = {name for name in unit.children if unit_behind(name, texts) is None and name.isidentifier()}
    elsewhere = frozenset[str]().union(*(other.bound for other in texts.values()))
    unknown = (missing | (called_as_units(text) & text.free)) - elsewhere
    return tuple(sorted(used | unknown))


def _kind(name: str) -> Kind:
    lowered = name.lower()
    return next((kind for kind, signs in _KINDS if any(sign in lowered for sign in signs)), "mixer")


def _read_names(cls: ast.ClassDef) -> list[str]:
    """Parameters of `_forward` after `self, X`; none where the unit overrides `forward` itself."""
    forward = method(cls, "_forward")
    if forward is None:
        return []
    named = [a.arg for a in forward.args.posonlyargs + forward.args.args][2:]
    return [*named, *(a.arg for a in forward.args.kwonlyargs)]


def _written_names(module: ast.Module) -> Iterator[str]:
    """Every name that the text could put into Z: keys of dictionaries and of item assignments, outside constructors."""
    names: set[str] = set()
    for cls in class_definitions(module):
        functions = (f for f in cls.body if isinstance(f, ast.FunctionDef) and f.name != "__init__")
        names.update(*(_keys(function) for function in functions))
    yield from names


def _keys(function: ast.FunctionDef) -> Iterator[str]:
    for node in ast.walk(function):
        match node:
            case ast.Dict(keys=keys):
                yield from (k.value for k in keys if isinstance(k, ast.Constant) and isinstance(k.value, str))
            case ast.Subscript(slice=ast.Constant(value=str(key)), ctx=ast.Store()):
                yield key
            case ast.Call(func=ast.Name(id="dict") | ast.Attribute(attr="update"), keywords=keywords):
                yield from (k.arg for k in keywords if k.arg)
