"""What the books hold about one design, and what a strategy sees of it. Values only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Literal

from genesys.evolution.events import LeaseGranted
from genesys.evolution.rating import Fitness
from genesys.ladder.ledger import BookkeepingError

__all__ = ["BookkeepingError", "DesignRecord", "DesignState", "DesignView", "Lease", "Run", "RunOutcome", "confidence"]


class DesignState(StrEnum):
    """Where a design stands. Only `implemented` and `verified` designs are parents and climb; a `twin` stands for nothing of
    its own, its results are another's."""

    PROPOSED = "proposed"
    IMPLEMENTED = "implemented"
    REJECTED = "rejected"
    TWIN = "twin"
    VERIFIED = "verified"
    FAILED = "failed"
    POISON = "poison"


RunOutcome = Literal["committed", "failed", "poison"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One finished verification; `report` names its blob. `poison` means its holders kept dying."""

    scale: str
    seed: int
    recipe: str
    outcome: RunOutcome
    lease: int
    metrics: Mapping[str, float] = field(default_factory=dict)
    report: str = ""
    cause: str = ""
    reason: str = ""
    seconds: float = 0.0
    n_tokens: int = 0
    gpu_seconds: float = 0.0


Lease = LeaseGranted
"""A run that is handed out and not yet back is held as the event that granted it. `lease` is its fencing token."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DesignRecord:
    """All that the journal says about one design; `order` counts proposals from 0, `runs` stand as they finished."""

    id: str
    name: str
    program: str
    operator: str
    order: int
    parents: tuple[str, ...] = ()
    references: tuple[str, ...] = ()
    designer: str = ""
    parts: tuple[str, ...] = ()
    is_seed: bool = False
    detail: str = ""
    state: DesignState = DesignState.PROPOSED
    sizes: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    checker: str = ""
    fingerprint: str = ""
    inherited_from: str = ""
    edit: str = ""
    target: str = ""
    odds: Mapping[str, float] = field(default_factory=dict)
    steps: Mapping[str, float] = field(default_factory=dict)
    normal_form: str = ""
    findings: tuple[Mapping[str, Any], ...] = ()
    runs: tuple[Run, ...] = ()
    session: str = ""
    title: str = ""
    abstract: str = ""
    account: str = ""
    cost_usd: float = 0.0
    scores: Mapping[str, float] = field(default_factory=dict)
    models: Mapping[str, str] = field(default_factory=dict)

    def committed(self, scale: str) -> tuple[Run, ...]:
        """The runs committed at a scale, replicates included."""
        return tuple(run for run in self.runs if run.scale == scale and run.outcome == "committed")

    def first_run(self, scale: str) -> Run | None:
        """How the run that counts for the quota ended at a scale; None when it has not."""
        return next((run for run in self.runs if run.scale == scale and run.seed == 0), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class DesignView:
    """What strategies see of a design.

    Attributes:
        fitness: Per scale at which it is rated.
        rung: Index of the highest scale at which it is verified; -1 when there is none.
        confidence: Points: 1 proposed, 1 implemented, then 1, 2, 3, ... for each rung verified.
        niche: The kind of design its metrics show; "" when unknown.
        order: Its place among all proposals, from 0.
    """

    id: str
    name: str
    parents: tuple[str, ...]
    operator: str
    state: DesignState
    is_seed: bool
    parts: tuple[str, ...]
    fitness: Mapping[str, Fitness]
    rung: int
    confidence: int
    niche: str
    order: int
    program: str = ""

    @property
    def best(self) -> Fitness | None:
        """Fitness at the highest scale at which it is rated."""
        return tuple(self.fitness.values())[-1] if self.fitness else None


def confidence(state: DesignState, rung: int) -> int:
    """Confidence points.

    Source: published implementation: 1 for a proposal, 1 for its implementation, then 1, 2, 3, ... up the ladder.
    """
    implemented = state not in (DesignState.PROPOSED, DesignState.REJECTED)
    return 1 + int(implemented) + (rung + 1) * (rung + 2) // 2
