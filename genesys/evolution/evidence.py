"""What is known about a design's parents and surroundings, for whoever designs the next one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """A design's results at one scale.

    Attributes:
        interval: 95%, of the fitness.
        families: Mean score by family of tasks and by probe, where measured.
    """

    scale: str
    fitness: float
    interval: tuple[float, float]
    families: Mapping[str, float] = field(default_factory=dict)
    test_bpb: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """A design as it is told to a designer.

    Attributes:
        outcome: `verified`, `failed`, `rejected`, `twin`, `proposal-failed` or what state it is in.
        cause: Why it failed or was rejected, in one line.
        deltas: By the path of a unit: what the fitness loses without it, with its interval, where an ablation measured it.
    """

    design: str
    name: str
    title: str = ""
    abstract: str = ""
    outcome: str = ""
    cause: str = ""
    operator: str = ""
    detail: str = ""
    measured: tuple[Measured, ...] = ()
    deltas: Mapping[str, tuple[float, float, float]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """Everything measured that a session may read.

    Attributes:
        siblings: Other children of the same parents, the latest first.
        failures: Proposals and designs of the run that came to nothing, the latest first.
        leaders: The best designs at the highest scale reached.
        lessons: What the scribe wrote last; "" before that.
    """

    parents: tuple[Known, ...] = ()
    siblings: tuple[Known, ...] = ()
    failures: tuple[Known, ...] = ()
    leaders: tuple[Known, ...] = ()
    lessons: str = ""
