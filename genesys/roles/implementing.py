"""The implementation stage: an accepted proposal becomes a tree of units, written one after the other and checked as it grows."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from dataclasses import dataclass, field
from statistics import fmean
from typing import Any

from genesys.gau import UnitTree
from genesys.roles.answers import ProposerTurn
from genesys.roles.beam import Drafts, mended, widen
from genesys.roles.brief import Attempt, Brief
from genesys.roles.effects import Claim, Effect, Tell
from genesys.roles.grafting import Draft, first_draft
from genesys.roles.work import Ended, Work

_SCORES = ("fidelity", "quality", "novelty", "rating")


@dataclass(frozen=True, slots=True, kw_only=True)
class Implementation:
    """What came of an implementation; a tree is complete, passes every check and is claimed.

    Attributes:
        cause: Without a tree: `units`, `check`, `duplicate`, `refused` or `money`, as in `SessionOutcome`.
        target: Path of the unit that a mutation or a crossover opened.
        scores: `observer.rating` and the like: means over the units that a coder wrote; `probe.loss_share` where measured.
    """

    tree: UnitTree | None
    cause: str = ""
    reason: str = ""
    duplicate_of: str = ""
    target: str = ""
    scores: Mapping[str, float] = field(default_factory=dict)
    attempts: tuple[Attempt, ...] = ()
    log: tuple[Mapping[str, object], ...] = ()


def implement(
    brief: Brief, proposal: ProposerTurn, common: Mapping[str, str]
) -> Generator[Effect, Any, Implementation]:
    """Write a proposal's code, unit by unit.

    Args:
        common: What all prompts of a run share, see `genesys.roles.wording.common`.
    """
    work = Work(brief=brief, proposal=proposal, common=common)
    try:
        return (yield from _implemented(work))
    except Ended as ended:
        return _failed(work, ended.cause, ended.reason)


def _implemented(work: Work) -> Generator[Effect, Any, Implementation]:
    """Extend, mend or claim the best draft until one is claimed, none is left, or too many units were given up."""
    beam: Drafts = (first_draft(work.brief, work.proposal.target),)
    n_given_up, duplicate_of = 0, ""
    while beam:
        best = beam[0]
        if not best.is_complete:
            kept, shorter = yield from widen(work, beam)
            beam = kept or shorter
            n_given_up += not kept
            if n_given_up > 0 and n_given_up >= work.brief.limits.max_failed_units:
                cause = "units" if work.notes.has_code else "refused"
                return _failed(work, cause, f"{n_given_up} units were given up. {beam[0].setbacks[-1]}")
        elif best.blamed is not None:
            beam = (*(yield from mended(work, best)), *beam[1:])[: work.brief.limits.beam]
        elif twin := (yield Claim(tree=_whole(best))):
            yield Tell(stage="end", text=f"It equals design {twin}.", tree=best.tree)
            duplicate_of, beam = twin, beam[1:]
        else:
            return _finished(work, best)
    if duplicate_of:
        return _failed(work, "duplicate", f"The design equals {duplicate_of}.", duplicate_of)
    return _failed(
        work, "check", "The finished tree fails its checks, and writing the blamed unit once more did not help."
    )


def _finished(work: Work, draft: Draft) -> Implementation:
    seen = [written.observation for written in draft.written if written.observation is not None]
    scores = {f"observer.{name}": fmean(getattr(turn, name) for turn in seen) for name in _SCORES if seen}
    share = work.notes.loss_shares.get(draft.id)
    return Implementation(
        tree=draft.tree, target=draft.written[0].path, attempts=work.notes.account.attempts, log=tuple(work.notes.account.log),
        scores=scores if share is None else scores | {"probe.loss_share": share},
    )  # fmt: skip


def _failed(work: Work, cause: str, reason: str, duplicate_of: str = "") -> Implementation:
    return Implementation(
        tree=None, cause=cause, reason=reason, duplicate_of=duplicate_of,
        attempts=work.notes.account.attempts, log=tuple(work.notes.account.log),
    )  # fmt: skip


def _whole(draft: Draft) -> UnitTree:
    assert draft.tree is not None, "a complete draft is a tree"
    return draft.tree
