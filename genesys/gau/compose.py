"""Write a unit tree as one readable Python text, and read it back.

Contract: `parse_composed(compose(tree)) == tree`, and the text depends on nothing but the tree. Each unit's source
stands unchanged inside a function of its own, which is its namespace: equal names in two units never meet.
Indentation is added outside string literals only, so that no value changes. A unit in the published convention stands
as a string, which `published_class` of the runtime turns into a class.
"""

from __future__ import annotations

import ast
import io
import json
import tokenize
from typing import Any

from genesys.gau.parse import parse_unit
from genesys.gau.tree import UnitTree, bind
from genesys.gau.unit import Expression, Unit

_INDENT = "    "
_PUBLISHED_RETURN = f"{_INDENT}return published_class(source, "
_UNIT_MARK, _END_MARK, _TREE_MARK = "# --- unit ", "# --- end of unit", "# --- tree "


def compose(tree: UnitTree) -> str:
    """Write the tree as Python: a function for each unit that returns its class, and a literal `TREE`.

    Raises:
        InterfaceError: Never for open slots; they are simply absent from `TREE`.
    """
    names = factory_names(tree)
    parts = [_factory(unit, names[unit]) for unit in tree.units()]
    parts.append(f"{_TREE_MARK}{tree.design_id}\nTREE = {_literal(tree, names)}\n")
    return "\n\n".join(parts)


def parse_composed(text: str) -> UnitTree:
    """Read a text that `compose` (or an export) wrote.

    Raises:
        UnitError: A unit in it is malformed.
        ValueError: The text holds no composed tree.
    """
    lines = text.split("\n")
    units: dict[str, Unit] = {}
    start = None
    for number, line in enumerate(lines):
        if line.startswith(_UNIT_MARK):
            name, start = line.removeprefix(_UNIT_MARK), number + 2  # mark, then `def unit_...():`
        elif line == _END_MARK and start is not None:
            units[name] = parse_unit(_source(lines[start:number]))
            start = None
    mark = next((n for n, line in enumerate(lines) if line.startswith(_TREE_MARK)), None)
    if mark is None or start is not None:
        raise ValueError("Cannot read a composed design: no `# --- tree` section; expected a text that export wrote.")
    return bind(_read_literal("\n".join(lines[mark + 1 :])), units.__getitem__)


def factory_names(tree: UnitTree) -> dict[Unit, str]:
    """A readable Python name for each distinct unit: its class name, with part of its id where two share it."""
    units = tree.units()
    clashing = {u.name for u in units if sum(v.name == u.name for v in units) > 1}
    return {u: f"{u.name}_{u.id[:8]}" if u.name in clashing else u.name for u in units}


def _factory(unit: Unit, name: str) -> str:
    head = f"{_UNIT_MARK}{name}\ndef unit_{name}():\n"
    if unit.published is not None:
        return f"{head}{_published_body(unit)}{_END_MARK}"
    return f"{head}{_indent(unit.source)}{_INDENT}return {unit.name}\n{_END_MARK}"


def _published_body(unit: Unit) -> str:
    """A published text as a string literal for each line: its imports may be legal at the top of a module only."""
    assert unit.published is not None
    lines = "".join(f"{_INDENT * 2}{line!r}\n" for line in unit.source.splitlines(keepends=True))
    interface: dict[str, object] = {
        "name": unit.name,
        "slots": tuple(slot.name for slot in unit.slots),
        "writes": unit.writes,
    }
    if unit.published.borrowed:
        interface["borrowed"] = unit.published.borrowed
    arguments = ", ".join(f"{key}={value!r}" for key, value in interface.items())
    return f"{_INDENT}source = (\n{lines}{_INDENT})\n{_PUBLISHED_RETURN}{arguments})\n"


def _source(body: list[str]) -> str:
    """The unit's text in the lines of its function, of which the last gives back the class."""
    text = _dedent("\n".join(body[:-1]))
    if not body[-1].startswith(_PUBLISHED_RETURN):
        return text
    literal: str = ast.literal_eval(text.removeprefix("source = "))
    return literal


def _literal(tree: UnitTree, names: dict[Unit, str], depth: int = 0) -> str:
    pad = _INDENT * (depth + 1)
    lines = [f'"unit": {json.dumps(names[tree.unit])},']
    if tree.hyperparameters:
        pairs = ", ".join(f"{json.dumps(n)}: {_value(v)}" for n, v in tree.hyperparameters)
        lines.append(f'"hyperparameters": {{{pairs}}},')
    if tree.children:
        lines.append('"slots": {')
        for slot, child in tree.children:
            lines.append(f"{_INDENT}{json.dumps(slot)}: {_literal(child, names, depth + 2)},")
        lines.append("},")
    return "{\n" + "".join(f"{pad}{line}\n" for line in lines) + _INDENT * depth + "}"


def _value(value: object) -> str:
    return repr({"expression": value.text}) if isinstance(value, Expression) else repr(value)


def _read_literal(text: str) -> dict[str, Any]:
    statement = ast.parse(text).body[0]
    assert isinstance(statement, ast.Assign)
    entry: dict[str, Any] = ast.literal_eval(statement.value)
    return entry


def _indent(source: str) -> str:
    inside = _lines_inside_strings(source)
    lines = source.split("\n")[:-1]
    return "".join(
        f"{line}\n" if not line or number in inside else f"{_INDENT}{line}\n" for number, line in enumerate(lines, 1)
    )


def _dedent(body: str) -> str:
    lines = body.split("\n")
    inside = _lines_inside_strings("def _():\n" + body + "\n", offset=1)
    return "\n".join(line if number in inside else line.removeprefix(_INDENT) for number, line in enumerate(lines, 1))


def _lines_inside_strings(source: str, offset: int = 0) -> set[int]:
    """Numbers of the lines that begin inside a string literal."""
    inside: set[int] = set()
    depth_start: list[int] = []
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.STRING:
            inside.update(range(token.start[0] + 1, token.end[0] + 1))
        elif token.type == getattr(tokenize, "FSTRING_START", -1):
            depth_start.append(token.start[0])
        elif token.type == getattr(tokenize, "FSTRING_END", -1):
            inside.update(range(depth_start.pop() + 1, token.end[0] + 1))
    return {number - offset for number in inside}
