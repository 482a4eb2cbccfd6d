"""What the checks say of a unit's code, the cheapest first, and what an observer thinks of it."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import replace
from typing import Any

from genesys.errors import Finding, InterfaceError, UnitError
from genesys.gau import UnitTree, parse_unit
from genesys.roles.answers import ObserverTurn
from genesys.roles.effects import Ask, Check, Effect, Refusal, Search
from genesys.roles.grafting import Place, donors, most_units, put
from genesys.roles.prompt import Prompt, fenced, render
from genesys.roles.surroundings import neighbours_text
from genesys.roles.wording import bar_text, findings_text, passages_text, proposal_text
from genesys.roles.work import Coding, Task, Work, ask


def tried(work: Work, task: Task, unit: UnitTree) -> tuple[UnitTree | None, tuple[Finding, ...]]:
    """The tree with a unit in its place, or why there is none."""
    try:
        tree = put(task.draft.tree, task.place.path, unit, donors(work.brief), most_units(work.brief))
    except InterfaceError as error:
        return None, (_finding("interface", str(error), "a unit that fits its place", task.place),)
    if tree.design_id in {parent.design_id for parent in work.brief.parents}:
        return None, (_finding("unchanged", "the design equals its parent", "a new design", task.place),)
    return tree, ()


def read(work: Work, task: Task, code: str) -> tuple[UnitTree | None, tuple[Finding, ...]]:
    """The tree with a unit's code in its place, or why there is none."""
    try:
        return tried(work, task, UnitTree(parse_unit(code)))
    except UnitError as error:
        return None, error.findings


def verdict(work: Work, tree: UnitTree, path: str) -> Generator[Effect, Any, tuple[Finding, ...]]:
    """What the checks say of a tree in which the unit at a path is new; open slots are excused."""
    known = work.notes.verdicts
    if tree.design_id not in known:
        partial = bool(tree.open_slots())
        answer = yield Check(tree=UnitTree(tree.at(path).unit), depth="static", partial=True)
        if answer.is_sane:
            answer = yield Check(tree=tree, depth="unit", partial=partial)
        if answer.is_sane:
            answer = yield Check(tree=tree, depth="full", partial=partial)
        known[tree.design_id] = tuple(finding for finding in answer.findings if finding.rule != "placeholder")
    return known[tree.design_id]


def assess(work: Work, task: Task, code: str) -> Generator[Effect, Any, Coding]:
    """What the checks and, of a sane unit, the observer say; of equal code in an equal context it is known."""
    tree, findings = read(work, task, code)
    if tree is None:
        return Coding(code=code, findings=findings)
    known, key = work.notes.codings, (task.specification, tree.design_id)
    if key not in known:
        findings = yield from verdict(work, tree, task.place.path)
        coding = Coding(code=code, tree=tree, findings=findings, blamed=_blamed(task, tree, findings))
        is_fit = coding.is_sane or coding.blamed is not None
        known[key] = (yield from _observed(work, task, coding)) if is_fit else coding
    return known[key]


def _blamed(task: Task, tree: UnitTree, findings: tuple[Finding, ...]) -> str | None:
    """The place of a unit coded before to which all errors of a complete tree point; None while it is incomplete.

    A finding that names the root without a line is about the whole, so that it blames nobody.
    """
    if tree.open_slots() or task.draft.is_repaired:
        return None
    names = {tree.at(w.path).unit.name: w.path for w in task.draft.written if w.is_coded and w.path != task.place.path}
    errors = [finding for finding in findings if finding.severity == "error"]
    places = {names.get(f.unit) if f.line is not None or f.unit != tree.unit.name else None for f in errors}
    return places.pop() if len(places) == 1 else None


def _observed(work: Work, task: Task, coding: Coding) -> Generator[Effect, Any, Coding]:
    limits = work.brief.limits
    if not limits.observer:
        return replace(coding, passes=True)
    nearest = yield Search(query=coding.code, sources=("unit",), n_tokens=limits.retrieval_tokens)
    prompt = _observer_prompt(work, task, coding, passages_text(nearest))
    turn = yield from ask(work, Ask(role="observer", prompt=prompt, answer=ObserverTurn))
    if isinstance(turn, Refusal):
        return replace(coding, reason=f"The observer gave no answer ({turn.cause}): {turn.reason}")
    return replace(coding, observation=turn, passes=turn.rating >= limits.unit_bar)


def _observer_prompt(work: Work, task: Task, coding: Coding, nearest: str) -> Prompt:
    fields = {
        "mode": work.brief.operator,
        "proposal": proposal_text(work.proposal),
        "slot": str(task.place),
        "specification": fenced("specification", "planner", task.specification),
        "neighbours": neighbours_text(task.draft, task.place),
        "nearest": nearest,
        "code": fenced("unit", "coder", coding.code),
        "findings": findings_text(coding.findings),
        "bar": bar_text(work.brief.limits.unit_bar),
    }
    return render("observer", fields, work.common)


def _finding(rule: str, measured: str, required: str, place: Place) -> Finding:
    return Finding(rule=rule, measured=measured, required=required, hint="", path=place.path)
