"""Stage 1: what a unit's text says about itself, read without running it. Never rewrites the text."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import lru_cache

from genesys.checker.reach import check_reach
from genesys.checker.rules import RULES
from genesys.errors import Finding
from genesys.gau import Unit, UnitTree
from genesys.gau.published import PUBLISHED_MODULES

ALLOWED_MODULES = frozenset(
    {"torch", "einops", "math", "typing", "dataclasses", "functools", "collections", "__future__"}
)


def check_static(tree: UnitTree) -> list[Finding]:
    """Findings about the texts of all units, and about slots that nothing fills."""
    findings = [finding for unit in tree.units() for finding in _check_unit(unit)]
    for path in tree.open_slots():
        parent, _, slot = path.rpartition(".")
        unit = tree.at(parent).unit.name
        findings.append(
            RULES["open-slot"].finding(f"slot {slot!r} is open", "a unit in every slot", unit=unit, path=path)
        )
    return findings


@lru_cache(maxsize=1024)  # designs share most of their units
def _check_unit(unit: Unit) -> tuple[Finding, ...]:
    nodes: list[ast.AST] = [n for n in ast.walk(ast.parse(unit.source)) if isinstance(n, (ast.stmt, ast.expr))]
    found = [*_check_statements(unit, nodes), *check_reach(unit, nodes), *_check_slots(unit, nodes)]
    first = {(finding.rule, finding.line): finding for finding in reversed(found)}  # one of a rule on a line is enough
    return tuple(finding for finding in found if first[finding.rule, finding.line] is finding)


def _check_statements(unit: Unit, nodes: list[ast.AST]) -> Iterator[Finding]:
    for statement in nodes:
        if isinstance(statement, (ast.Import, ast.ImportFrom)):
            yield from _check_import(unit, statement)
        elif isinstance(statement, (ast.Global, ast.Nonlocal)):
            yield RULES["global"].finding("a `global` or `nonlocal` statement", "no state outside the unit",
                                          unit=unit.name, line=statement.lineno)  # fmt: skip


def _check_import(unit: Unit, statement: ast.Import | ast.ImportFrom) -> Iterator[Finding]:
    if isinstance(statement, ast.Import):
        names = [alias.name for alias in statement.names]
    else:
        names = [statement.module or "."] if not statement.level else ["."]
        if any(alias.name == "*" for alias in statement.names) and unit.published is None:
            yield RULES["import"].finding("a star import", "names imported one by one", unit=unit.name,
                                          line=statement.lineno, hint="Name what you use.")  # fmt: skip
    modules = ALLOWED_MODULES if unit.published is None else ALLOWED_MODULES | PUBLISHED_MODULES
    for name in names:
        if name.partition(".")[0] not in modules:
            allowed = ", ".join(sorted(modules - {"__future__"}))
            yield RULES["import"].finding(
                f"import of {name!r}", f"only {allowed}", unit=unit.name, line=statement.lineno
            )


def _check_slots(unit: Unit, nodes: list[ast.AST]) -> Iterator[Finding]:
    if unit.published is not None:
        return  # its slots are names of classes, read off the text by the import
    declared = {slot.name for slot in unit.slots}
    asked: set[str] = set()
    for call in nodes:
        match call:
            case ast.Call(func=ast.Attribute(value=ast.Name(id="ctx"), attr="child" | "children"), args=[slot, *_]):
                pass
            case _:
                continue
        if not (isinstance(slot, ast.Constant) and isinstance(slot.value, str)):
            yield RULES["slots"].finding("a slot name that is computed", "a literal", unit=unit.name, line=call.lineno,
                                         hint="Write the name out.")  # fmt: skip
            return
        asked.add(slot.value)
        if slot.value not in declared:
            yield RULES["slots"].finding(f"slot {slot.value!r} asked for", f"one of {sorted(declared)}", unit=unit.name,
                                         line=call.lineno, hint="Declare it in `slots`.")  # fmt: skip
    for name in sorted(declared - asked):
        yield RULES["slots"].finding(f"slot {name!r} is declared, never asked for", "slots declared = slots asked for",
                                     unit=unit.name, hint="Remove it, or ask with ctx.child.")  # fmt: skip
