"""One attempt at a design, from its brief to its outcome, as a generator without I/O."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import replace
from typing import Any

from genesys.roles.account import merged
from genesys.roles.brief import Brief, SessionOutcome
from genesys.roles.direct import direct
from genesys.roles.effects import Effect, Tell
from genesys.roles.implementing import implement
from genesys.roles.proposing import Failed, propose
from genesys.roles.wording import common


def design_session(brief: Brief) -> Generator[Effect, Any, SessionOutcome]:
    """Propose a design and write it, in the flow that the brief names.

    Guarantees: whatever it is told, it ends with an outcome after a number of effects that the brief's limits bound, and a
    tree that it gives is claimed and sane.

    Raises:
        ValueError: The brief lacks a bound that prompts state; before anything is asked.
    """
    flow = _unit_by_unit(brief) if brief.limits.flow == "units" else direct(brief, common(brief.bounds))
    outcome = yield from flow
    yield Tell(
        stage="end", text=f"{outcome.cause}: {outcome.reason}" if outcome.cause else outcome.title, tree=outcome.tree
    )
    return outcome


def _unit_by_unit(brief: Brief) -> Generator[Effect, Any, SessionOutcome]:
    shared = common(brief.bounds)
    proposed = yield from propose(brief, shared)
    outcome = SessionOutcome(
        tree=None,
        title=proposed.proposal.title if proposed.proposal else "",
        abstract=proposed.proposal.abstract if proposed.proposal else "",
        scores=proposed.scores,
        attempts=proposed.attempts,
        log=proposed.log,
    )
    if isinstance(proposed, Failed):
        return replace(outcome, cause=proposed.cause, reason=proposed.reason)
    built = yield from implement(brief, proposed.proposal, shared)
    return replace(
        outcome,
        tree=built.tree,
        cause=built.cause,
        reason=built.reason,
        duplicate_of=built.duplicate_of,
        target=built.target,
        scores={**proposed.scores, **built.scores},
        attempts=merged(proposed.attempts, built.attempts),
        log=(*proposed.log, *built.log),
    )
