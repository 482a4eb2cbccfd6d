"""Sessions of a run: what one is given by its task, and what the books are told of its end."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from genesys.agents.conductor import Conducted, Session
from genesys.evolution.events import LESSONS, DesignProposed, LessonsWritten, ProposalFailed
from genesys.evolution.sessions import SessionTask
from genesys.gau import UnitTree
from genesys.gau.normal_form import normal_form
from genesys.llm.calls import NANO_PER_USD
from genesys.roles.brief import Brief, SessionLimits, SessionOutcome
from genesys.roles.lessons import LessonsOutcome, lessons_session
from genesys.roles.session import design_session
from genesys.roles.wording import common
from genesys.storage import content_hash

RUN_WIDE_CAPS = frozenset({"run", "day", "role"})
"""Caps of money after which no other session would get any."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """What came of a session, ready for the books.

    Attributes:
        tree: The design; None for a failure, or lessons.
        account: The blob with what was said.
        told: Fields that every event which ends a session has.
    """

    designer: str
    task: SessionTask
    parents: tuple[UnitTree, ...]
    outcome: SessionOutcome | LessonsOutcome
    account: bytes
    told: Mapping[str, Any]

    @property
    def tree(self) -> UnitTree | None:
        return self.outcome.tree if isinstance(self.outcome, SessionOutcome) else None

    def event(self) -> LessonsWritten | ProposalFailed:
        """The event that closes a session without a design."""
        outcome = self.outcome
        if isinstance(outcome, LessonsOutcome) and outcome.text:
            return LessonsWritten(text=outcome.text, n_designs=self.task.n_designs, **self.told)
        cause, reason = _failure(outcome)
        return self.failed(cause, reason, getattr(outcome, "duplicate_of", ""))

    def failed(self, cause: str, reason: str, duplicate_of: str = "") -> ProposalFailed:
        """A failure of this session."""
        return ProposalFailed(
            designer=self.designer, operator=self.task.operator, cause=cause, reason=reason,
            duplicate_of=duplicate_of, **self._words(), **self.told,
        )  # fmt: skip

    def proposed(self, *, program: str, name: str, steps: Mapping[str, float]) -> DesignProposed:
        """The event that closes a session with a design."""
        assert isinstance(self.outcome, SessionOutcome) and self.outcome.tree is not None
        tree, task = self.outcome.tree, self.task
        return DesignProposed(
            design=tree.design_id, name=name, program=program, operator=task.operator, parents=task.parents,
            references=task.references, designer=self.designer, parts=tuple(unit.name for unit in tree.units()),
            detail=self.outcome.title, target=self.outcome.target, odds=task.odds, steps=steps,
            normal_form=normal_form(tree), reason=task.reason, **self._words(), **self.told,
        )  # fmt: skip

    def _words(self) -> dict[str, Any]:
        outcome = self.outcome
        if isinstance(outcome, LessonsOutcome):
            return {}
        return {"title": outcome.title, "abstract": outcome.abstract, "scores": dict(outcome.scores)}


def session_of(task: SessionTask, parents: Sequence[UnitTree]) -> Session[SessionOutcome] | Session[LessonsOutcome]:
    """The session that a task describes; the parents' programs stand in its order."""
    if task.operator == LESSONS:
        return lessons_session(task.evidence, common(task.bounds))
    return design_session(brief_of(task, parents))


def brief_of(task: SessionTask, parents: Sequence[UnitTree]) -> Brief:
    """What a session is given.

    Raises:
        TypeError, ValueError: A task whose limits or bounds are of another version.
    """
    operator: Any = task.operator
    return Brief(
        session=task.session, operator=operator, parents=tuple(parents), evidence=task.evidence,
        bounds=common(task.bounds), limits=SessionLimits(**task.limits), seed=task.seed, planted=task.planted,
    )  # fmt: skip


def ended_as(
    designer: str, task: SessionTask, parents: tuple[UnitTree, ...],
    conducted: Conducted[SessionOutcome | LessonsOutcome],
) -> Ended:  # fmt: skip
    """What came of a session, as the books are told of it."""
    outcome = conducted.outcome
    said = {
        "log": [dict(entry) for entry in outcome.log],
        "attempts": [asdict(attempt) for attempt in outcome.attempts],
        "n_calls": conducted.n_calls,
    }
    account = json.dumps(said, sort_keys=True, default=str).encode()
    told = {
        "session": task.session, "account": content_hash(account), "cost_usd": conducted.cost_nano / NANO_PER_USD,
        "models": dict(conducted.models),
    }  # fmt: skip
    return Ended(designer=designer, task=task, parents=parents, outcome=outcome, account=account, told=told)


def _failure(outcome: SessionOutcome | LessonsOutcome) -> tuple[str, str]:
    """Why a session gave nothing, in a word and a sentence; money that only this session lacks is no one else's matter."""
    cause = outcome.cause or "refused"
    if cause == "money":
        caps = [entry.get("cap") for entry in outcome.log if entry.get("cause") == "money"]
        cause = "money" if not caps or RUN_WIDE_CAPS.intersection(map(str, caps)) else "session-cap"
    return cause, outcome.reason or "no reason was given"
