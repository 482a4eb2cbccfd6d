"""Which place is written next, and what for."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

from genesys.roles.answers import PlannerTurn
from genesys.roles.effects import Ask, Effect, Refusal, Tell
from genesys.roles.grafting import Draft, Place
from genesys.roles.prompt import Prompt, render
from genesys.roles.surroundings import MODES, draft_text, reusable_text
from genesys.roles.wording import line, place_name, proposal_text
from genesys.roles.work import Task, Work, ask


def plan(work: Work, draft: Draft) -> Generator[Effect, Any, tuple[Task, str]]:
    """The next task for an incomplete draft, and the name of a unit to take instead of writing one, or "".

    Without a planner, or where it names no place that is open, the first place is next.
    """
    places = draft.places()
    first = Task(draft=draft, place=places[0], specification=f"As proposed. {places[0].doc}".strip())
    if not work.brief.limits.planner:
        return first, ""
    turn = yield from ask(work, Ask(role="planner", prompt=_prompt(work, draft, places), answer=PlannerTurn))
    if isinstance(turn, Refusal):
        return first, ""
    chosen = [place for place in places if place_name(place.path) == (turn.slot.strip() or place_name(""))]
    if not chosen:
        work.notes.account.useless("planner")
    task = Task(draft=draft, place=(chosen or places)[0], specification=turn.specification or first.specification)
    reuse = turn.reuse.strip() if chosen else ""
    told = line(f"take {reuse}" if reuse else task.specification)
    yield Tell(stage="plan", text=f"{place_name(task.place.path)}: {told}", tree=draft.tree)
    return task, reuse


def _prompt(work: Work, draft: Draft, places: tuple[Place, ...]) -> Prompt:
    fields = {
        "mode": work.brief.operator,
        "task": MODES[work.brief.operator],
        "proposal": proposal_text(work.proposal),
        "reusable": reusable_text(places, work.brief),
        "draft": draft_text(draft, work.brief, places),
        "slots": "\n".join(f"- {place}; {line(place.doc)}" for place in places),
    }
    return render("planner", fields, work.common)
