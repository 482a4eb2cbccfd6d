"""Stage 1: what a unit's text says about itself, read without running it. Never rewrites the text."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from genesys.errors import Finding
from genesys.gau import Unit, UnitTree

ALLOWED_MODULES = frozenset(
    {"torch", "einops", "math", "typing", "dataclasses", "functools", "collections", "__future__"}
)
FORBIDDEN_CALLS = frozenset(
    {"open", "exec", "eval", "compile", "__import__", "input", "breakpoint", "globals", "vars", "exit", "quit"}
)


def check_static(tree: UnitTree) -> list[Finding]:
    """Findings about the texts of all units, and about slots that nothing fills."""
    findings = [finding for unit in tree.units() for finding in _check_unit(unit)]
    for path in tree.open_slots():
        parent, _, slot = path.rpartition(".")
        findings.append(
            Finding(
                rule="open-slot",
                unit=tree.at(parent).unit.name,
                path=path,
                measured=f"slot {slot!r} is open",
                required="a unit in every slot",
                hint="Bind a unit to it.",
            )
        )
    return findings


def _check_unit(unit: Unit) -> Iterator[Finding]:
    module = ast.parse(unit.source)
    for statement in ast.walk(module):
        yield from _check_import(unit, statement)
        yield from _check_call(unit, statement)
        if isinstance(statement, (ast.Global, ast.Nonlocal)):
            yield _finding(unit, "global", statement, "a `global` or `nonlocal` statement", "no state outside the unit",
                           "Keep values in attributes or local names.")  # fmt: skip
    yield from _check_slots(unit, module)


def _check_import(unit: Unit, statement: ast.AST) -> Iterator[Finding]:
    if isinstance(statement, ast.Import):
        names = [alias.name for alias in statement.names]
    elif isinstance(statement, ast.ImportFrom):
        names = [statement.module or "."] if not statement.level else ["."]
        if any(alias.name == "*" for alias in statement.names):
            yield _finding(
                unit, "import", statement, "a star import", "names imported one by one", "Name what you use."
            )
    else:
        return
    for name in names:
        if name.partition(".")[0] not in ALLOWED_MODULES or name == "__future__":
            allowed = ", ".join(sorted(ALLOWED_MODULES - {"__future__"}))
            yield _finding(unit, "import", statement, f"import of {name!r}", f"only {allowed}", "Write it with torch.")


def _check_call(unit: Unit, statement: ast.AST) -> Iterator[Finding]:
    if (
        isinstance(statement, ast.Call)
        and isinstance(statement.func, ast.Name)
        and statement.func.id in FORBIDDEN_CALLS
    ):
        yield _finding(unit, "forbidden-call", statement, f"a call of {statement.func.id}()", "tensor computation only",
                       "Remove the call.")  # fmt: skip


def _check_slots(unit: Unit, module: ast.Module) -> Iterator[Finding]:
    declared = {slot.name for slot in unit.slots}
    asked: set[str] = set()
    for call in ast.walk(module):
        if not (
            isinstance(call, ast.Call)
            and isinstance(call.func, ast.Attribute)
            and call.func.attr in ("child", "children")
        ):
            continue
        if not (isinstance(call.func.value, ast.Name) and call.func.value.id == "ctx" and call.args):
            continue
        slot = call.args[0]
        if not (isinstance(slot, ast.Constant) and isinstance(slot.value, str)):
            yield _finding(unit, "slots", call, "a slot name that is computed", "a literal", "Write the name out.")
            return
        asked.add(slot.value)
        if slot.value not in declared:
            yield _finding(unit, "slots", call, f"slot {slot.value!r} asked for", f"one of {sorted(declared)}",
                           "Declare it in `slots`.")  # fmt: skip
    for name in sorted(declared - asked):
        yield Finding(rule="slots", unit=unit.name, measured=f"slot {name!r} is declared, never asked for",
                      required="slots declared = slots asked for", hint="Remove it, or ask with ctx.child.")  # fmt: skip


def _finding(unit: Unit, rule: str, place: ast.AST, measured: str, required: str, hint: str) -> Finding:
    line = getattr(place, "lineno", None)
    return Finding(rule=rule, unit=unit.name, line=line, measured=measured, required=required, hint=hint)
