"""Find published designs on the disk and take from each file the parts that an import needs, whatever wraps them."""

from __future__ import annotations

import ast
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from genesys.errors import ConfigError

DESIGN_FILE = "implementation.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishedUnit:
    """One unit as the file has it.

    Attributes:
        args: The hyperparameters and defaults that the file lists; values as JSON has them.
        children: Names of child units, which need not exist.
        tests: Sources of its tests by name.
    """

    name: str
    code: str
    children: tuple[str, ...] = ()
    args: Mapping[str, Any] = field(default_factory=dict)
    tests: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishedDesign:
    """One design as the file has it; units without code are left out."""

    name: str
    root: str
    units: Mapping[str, PublishedUnit]
    status: str = ""
    title: str = ""


def find_designs(path: Path) -> Iterator[Path]:
    """The design files at a path: the file itself; or of a folder, its `implementation.json` and those below it; or
    where there is none, its JSON files.

    Raises:
        ConfigError: No such path.
    """
    if not path.exists():
        raise ConfigError(f"Cannot import {str(path)!r}: no such file or folder. Give the path of a design or of many.")
    if path.is_file():
        yield path
        return
    found = sorted(path.rglob(DESIGN_FILE))
    yield from found or sorted(path.glob("*.json"))


def read_design(path: Path) -> PublishedDesign:
    """Read a design file.

    Raises:
        ValueError: It is not JSON, or holds no design; the message says what was found.
        OSError: It cannot be read.
    """
    data = json.loads(path.read_text(encoding="utf-8"))
    outer = data if isinstance(data, dict) else {}
    tree = _find_tree(data)
    if tree is None:
        raise ValueError("no mapping with `units` in it; expected a published implementation or its tree")
    units = {str(name): _unit(str(name), _mapping(raw)) for name, raw in _mapping(tree["units"]).items()}
    written = {name: unit for name, unit in units.items() if unit.code.strip()}
    if not written:
        raise ValueError("no unit has any code; expected at least the root unit")
    fallback = path.parent.name if path.name == DESIGN_FILE else path.stem
    proposal = _mapping(tree.get("proposal")) or _mapping(outer.get("proposal")) or _proposal_beside(path)
    name = str(tree.get("name") or proposal.get("modelname") or fallback)
    return PublishedDesign(
        name=name,
        root=_root(tree, written),
        units=written,
        status=str(outer.get("status") or ""),
        title=str(proposal.get("modelname") or proposal.get("title") or fallback),
    )


def _proposal_beside(path: Path) -> dict[str, Any]:
    file = path.with_name("proposal.json")
    try:
        return _mapping(json.loads(file.read_text(encoding="utf-8"))) if file != path else {}
    except (OSError, ValueError, RecursionError):
        return {}


def _find_tree(data: Any, depth: int = 0) -> dict[str, Any] | None:
    """The mapping that holds `units`, here or under the keys that wrap it."""
    found = _mapping(data)
    if _mapping(found.get("units")):
        return found
    if depth == 3:
        return None
    inner = (_find_tree(found[key], depth + 1) for key in ("implementation", "tree", "design") if found.get(key))
    return next((tree for tree in inner if tree is not None), None)


def _unit(name: str, raw: Mapping[str, Any]) -> PublishedUnit:
    children = raw.get("children")
    children = _literal(children) if isinstance(children, str) else children
    children = children if isinstance(children, (list, tuple, dict)) else ()
    names = (c if isinstance(c, str) else _mapping(c).get("unitname") or _mapping(c).get("name") for c in children)
    tests = {str(test): text for test, text in _mapping(raw.get("gautests")).items() if isinstance(text, str)}
    code = raw.get("code")
    return PublishedUnit(
        name=name,
        code=code if isinstance(code, str) else "",
        children=tuple(dict.fromkeys(name for name in names if isinstance(name, str) and name)),
        args={str(arg): value for arg, value in _mapping(raw.get("args")).items()},
        tests=tests,
    )


def _root(tree: Mapping[str, Any], units: Mapping[str, PublishedUnit]) -> str:
    """The root's name: what the file says, or the one unit that is nobody's child, or the design's namesake."""
    named = tree.get("root")
    if isinstance(named, dict):
        spec = _mapping(named.get("spec"))
        named = named.get("name") or named.get("unitname") or spec.get("unitname")
    if isinstance(named, str) and named:
        return named
    children = {child for unit in units.values() for child in unit.children if child != unit.name}
    orphans = [name for name in units if name not in children]
    name = str(tree.get("name") or "")
    return name if name in units else orphans[0] if orphans else next(iter(units))


def _mapping(value: Any) -> dict[str, Any]:
    """A mapping, also one that the file has as text; anything else counts as empty."""
    value = _literal(value) if isinstance(value, str) else value
    return value if isinstance(value, dict) else {}


def _literal(text: str) -> Any:
    if not text.lstrip().startswith(("{", "[", "(")):
        return ()
    for read in (json.loads, ast.literal_eval):
        try:
            return read(text)
        except (ValueError, SyntaxError, MemoryError, RecursionError, TypeError):
            continue
    return ()
