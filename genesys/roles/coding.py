"""One unit's code: a coder's turns, with tools, until it hands the unit in."""

from __future__ import annotations

import json
from collections.abc import Generator
from dataclasses import asdict
from typing import Any

from genesys.errors import suggest
from genesys.gau.library import library
from genesys.roles.answers import CoderTurn
from genesys.roles.effects import Ask, Derive, Effect, Profile, Refusal, Search
from genesys.roles.judging import read, verdict
from genesys.roles.packing import shorten
from genesys.roles.prompt import Prompt, fenced, render
from genesys.roles.surroundings import MODES, draft_text, last_attempt_text, neighbours_text
from genesys.roles.wording import bar_text, findings_text, line, passages_text, proposal_text
from genesys.roles.work import Coding, Task, Work, ask

TOOL_TOKENS = 4_000  # of what one use of a tool may bring


def write(work: Work, task: Task, last: Coding | None, *, sample: int) -> Generator[Effect, Any, CoderTurn | str]:
    """The turn in which a coder hands its unit in, or a sentence why it did not.

    Args:
        last: The attempt before, whose findings it is told.
        sample: Numbers the codings of a task.
    """
    prompt = _prompt(work, task, last)
    for n_left in range(work.brief.limits.max_turns, -1, -1):
        turn: CoderTurn | Refusal = yield from ask(
            work, Ask(role="coder", prompt=prompt, answer=CoderTurn, sample=sample)
        )
        if isinstance(turn, Refusal):
            return f"The coder gave no answer ({turn.cause}): {turn.reason}"
        if turn.action == "submit" or (n_left == 0 and turn.action in ("check", "profile")):
            return turn
        work.notes.account.useless("coder")
        if n_left:
            told = yield from _tool(work, task, turn)
            left = f"Uses of tools left: {n_left - 1}." + (" Hand the unit in." if n_left == 1 else "")
            prompt = prompt.reply(json.dumps(asdict(turn)), f"{told}\n\n{left}")
    return "The coder used up its tools and handed nothing in."


def _tool(work: Work, task: Task, turn: CoderTurn) -> Generator[Effect, Any, str]:
    """What the use of a tool brings."""
    match turn.action:
        case "check" | "profile":
            tree, findings = read(work, task, turn.code)
            if tree is None:
                return findings_text(findings)
            if turn.action == "profile":
                return fenced("profile", "cage", shorten((yield Profile(tree=tree)), TOOL_TOKENS))
            findings = yield from verdict(work, tree, task.place.path)
            return f"The checks say:\n{findings_text(findings)}"
        case "search":
            limits = work.brief.limits
            found = yield Search(query=turn.query, sources=limits.sources, n_tokens=limits.retrieval_tokens)
            return passages_text(found)
        case "derive":
            return fenced("derivation", "sympy", shorten((yield Derive(program=turn.code)), TOOL_TOKENS))
        case _:
            return _read_unit(work, turn.query.strip())


def _read_unit(work: Work, name: str) -> str:
    units = dict(library()) | {unit.name: unit for tree in work.brief.parents for unit in tree.units()}
    if name not in units:
        return f"There is no unit {line(name, 80)!r}.{suggest(name, units)} There are: {', '.join(units)}."
    return fenced("unit", name, units[name].source)


def _prompt(work: Work, task: Task, last: Coding | None) -> Prompt:
    fields = {
        "mode": work.brief.operator,
        "task": MODES[work.brief.operator],
        "proposal": proposal_text(work.proposal),
        "draft": draft_text(task.draft, work.brief, (task.place,)),
        "neighbours": neighbours_text(task.draft, task.place),
        "slot": str(task.place),
        "doc": line(task.place.doc) or "not said",
        "specification": fenced("specification", "planner", task.specification),
        "last": last_attempt_text(last),
        "n_tools": str(work.brief.limits.max_turns),
        "bar": bar_text(work.brief.limits.unit_bar)
        if work.brief.limits.observer
        else "Nobody but the checks judges it.",
    }
    return render("coder", fields, work.common)
