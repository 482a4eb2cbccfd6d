"""What a session is given: who it builds on, what is known about them, and its bounds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from genesys.evolution.evidence import Evidence
from genesys.gau import UnitTree
from genesys.roles.effects import Source

Flow = Literal["units", "direct"]


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionLimits:
    """How far a session may go. A bar is the least rating with which a proposal or a unit passes, of 5.

    Attributes:
        flow: `units`: proposal, plan, unit by unit; `direct`: the whole block in one answer.
        beam: Partial trees kept side by side; 1 is greedy.
        samples: Codings of a unit tried for each of them.
        max_proposals: Proposals of a session until one passes.
        max_searches: Of the proposer in its session, and of the reviewer in each review.
        max_turns: Uses of tools in one coding.
        max_attempts: Rounds of codings of one unit, each of `samples` side by side, that fail before the tree is rolled back.
        max_failed_units: Units given up before the session ends.
        max_units: Units of a finished tree.
        reviewer, observer, planner: Whether these roles are asked; without them proposals pass, units pass their checks
            alone, and slots are filled in order.
        judge: Whether a second reviewer of another family must agree.
        retrieval_tokens: The most that one search may bring.
    """

    flow: Flow = "units"
    proposal_bar: float = 4.0
    unit_bar: float = 3.0
    beam: int = 2
    samples: int = 2
    max_proposals: int = 5
    max_searches: int = 3
    max_turns: int = 6
    max_attempts: int = 5
    max_failed_units: int = 3
    max_units: int = 12
    reviewer: bool = True
    judge: bool = False
    observer: bool = True
    planner: bool = True
    literature: bool = True
    feedback: bool = True
    retrieval_tokens: int = 2000

    @property
    def sources(self) -> tuple[Source, ...]:
        """What proposer, reviewer and coder may search: entries of failures tell what was measured, those of designs do not."""
        is_open: dict[Source, bool] = {
            "unit": True, "design": True, "failure": self.feedback, "paper": self.literature,
        }  # fmt: skip
        return tuple(source for source, opened in is_open.items() if opened)


@dataclass(frozen=True, slots=True, kw_only=True)
class Brief:
    """One session's task.

    Attributes:
        session: Its id in the journal.
        parents: Programs of the parents, in the order of `evidence.parents`.
        bounds: What a design must keep, with the checker's exact figures, by the names that `prompts/common.md` uses.
        seed: Of whatever the session draws.
        planted: Chance that the reviewer is first given a proposal known to be bad; what it says of it is recorded.
    """

    session: str
    operator: Literal["mutation", "crossover", "scratch"]
    parents: tuple[UnitTree, ...]
    evidence: Evidence
    bounds: Mapping[str, str]
    limits: SessionLimits = field(default_factory=SessionLimits)
    seed: int = 0
    planted: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """How often a role was asked, and how often its answer was of use."""

    role: str
    n_asked: int
    n_useful: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionOutcome:
    """What came of a session.

    Attributes:
        tree: The finished design; None when the session failed.
        cause: Of a failure: `proposal` (none passed), `duplicate`, `units` (too many given up), `check`, `refused`, `money`,
            `stale` (taken up again, it asked for something else), `bug` (a mistake in Genesys ended it).
        duplicate_of: The design that exists already.
        target: Path of the unit that a mutation changed.
        scores: Of the proposal and the units, such as `reviewer.rating`, `observer.fidelity` (means over units).
        log: What was proposed, reviewed, planned, written and observed, as plain data; the journal names it as a blob.
    """

    tree: UnitTree | None
    title: str = ""
    abstract: str = ""
    cause: str = ""
    reason: str = ""
    duplicate_of: str = ""
    target: str = ""
    scores: Mapping[str, float] = field(default_factory=dict)
    attempts: tuple[Attempt, ...] = ()
    log: tuple[Mapping[str, object], ...] = ()
