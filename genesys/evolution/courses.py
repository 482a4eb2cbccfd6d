"""Whole runs against each other: the best that each had found when it had used so much.

Runs of one corpus, ladder and rule of fitness are put on one axis, that of the first of them which measured its reference: a run
without seeds has none of its own. Starting designs are what a run begins with, and not counted as found.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import inf
from random import Random
from statistics import fmean
from typing import Literal

from genesys.errors import ConfigError
from genesys.evolution.events import (
    DesignImplemented,
    DesignProposed,
    DesignRejected,
    DesignTwinned,
    Event,
    LeaseRefunded,
    LessonsWritten,
    ProposalFailed,
    VerificationFailed,
    VerificationRecorded,
    is_vain,
)
from genesys.evolution.inference import Comparison, compare
from genesys.evolution.rating import FitnessRule, Frame, Metrics
from genesys.evolution.tree import EvolutionTree

Means = Literal["designs", "hours", "usd"]
MEANS: tuple[Means, ...] = ("designs", "hours", "usd")
N_RESAMPLES = 1000
_GIVEN = ("seed", "given")
_SAME = ("scales", "data_hash", "tokenizer", "fitness")


@dataclass(frozen=True, slots=True, kw_only=True)
class Yardstick:
    """What designs of several runs are rated by, at one scale."""

    scale: str
    rule: FitnessRule
    reference: tuple[Metrics, ...]
    frame: Frame

    def value(self, runs: Sequence[Metrics]) -> float:
        """Fitness of a design by its runs at the scale."""
        return self.frame.value(self.rule.rater(self.reference or None)(runs).raw)


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """A moment of a run.

    Attributes:
        designs: Found, and verified at the lowest scale or failed there by their own fault.
        hours: Of GPUs, or of verifiers where no GPU was reserved; seeds included.
        usd: Sessions that have ended, and GPU time at its price.
        best: Fitness of the best design found so far; None before the first.
    """

    designs: int
    hours: float
    usd: float
    best: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Course:
    """How one run went.

    Attributes:
        steps: After each event that used something or found something.
        found: Fitness of each design found, in the order of verification.
        n_attempts, n_sane: Designs that were tried for, and those that passed the checker; duplicates are attempts.
        on_gpus: Whether `hours` are of GPUs.
    """

    steps: tuple[Step, ...]
    found: tuple[float, ...]
    n_attempts: int
    n_sane: int
    on_gpus: bool

    @property
    def end(self) -> Step:
        return self.steps[-1] if self.steps else Step(designs=0, hours=0.0, usd=0.0, best=None)

    def best_at(self, means: Means, amount: float) -> float | None:
        """The best found with no more than an amount used."""
        within = [step for step in self.steps if getattr(step, means) <= amount * (1 + 1e-9)]
        return within[-1].best if within else None


def yardstick(trees: Sequence[EvolutionTree], scale: str | None = None) -> Yardstick:
    """What these runs are compared by, at the lowest scale by default: there every design is measured.

    Raises:
        ConfigError: No run, no such scale, or runs that cannot be compared.
    """
    if not trees:
        raise ConfigError("Cannot compare runs: there is none. Run some first.")
    _require_alike(trees)
    scales = trees[0].scales
    chosen = scale or scales[0]
    if chosen not in scales:
        raise ConfigError(f"Cannot compare at scale {chosen!r}: expected {', '.join(scales)}.")
    first = next((tree for tree in trees if _reference(tree, chosen)), trees[0])
    return Yardstick(
        scale=chosen, rule=first.rule, reference=_reference(first, chosen), frame=first.ratings.frame(chosen)
    )


def _reference(tree: EvolutionTree, scale: str) -> tuple[Metrics, ...]:
    runs = tree.record(tree.reference).committed(scale) if tree.reference in tree.records else ()
    return tuple(run.metrics for run in runs)


def _require_alike(trees: Sequence[EvolutionTree]) -> None:
    settings = [tree.run.config if tree.run else {} for tree in trees]
    for name in _SAME:
        if len({repr(found.get(name)) for found in settings}) > 1:
            raise ConfigError(
                f"Cannot compare these runs: they differ in {name}. Compare runs of one ladder and corpus."
            )


def course(
    events: Iterable[Event], stick: Yardstick, *, lowest: str, usd_per_gpu_hour: float = 0.0
) -> Course:  # fmt: skip
    """Read how a run went from its events.

    Args:
        lowest: The lowest scale, at which designs are counted.
    """
    given, settled, runs = set[str](), set[str](), dict[str, list[Metrics]]()
    values, steps = dict[str, float](), list[Step]()
    seconds = gpu_seconds = usd = 0.0
    n_attempts = n_sane = 0
    for event in events:
        match event:
            case DesignProposed(operator=operator):
                if operator in _GIVEN:
                    given.add(event.design)
                usd += event.cost_usd
            case ProposalFailed():
                n_attempts += is_vain(event)
                usd += event.cost_usd
            case LessonsWritten():
                usd += event.cost_usd
            case DesignImplemented() | DesignTwinned() | DesignRejected():
                if event.design not in given:
                    n_attempts += 1
                    n_sane += not isinstance(event, DesignRejected)
                continue
            case VerificationRecorded() | VerificationFailed() | LeaseRefunded():
                seconds, gpu_seconds = seconds + event.seconds, gpu_seconds + event.gpu_seconds
                usd += event.gpu_seconds / 3600 * usd_per_gpu_hour
                if not isinstance(event, LeaseRefunded) and event.design not in given:
                    if event.scale == lowest:
                        settled.add(event.design)
                    if isinstance(event, VerificationRecorded) and event.scale == stick.scale:
                        runs.setdefault(event.design, []).append(event.metrics)
                        values[event.design] = stick.value(runs[event.design])
            case _:
                continue
        best = max(values.values(), default=None)
        hours = (gpu_seconds or seconds) / 3600
        steps.append(Step(designs=len(settled), hours=hours, usd=usd, best=best))
    return Course(
        steps=tuple(steps), found=tuple(values.values()), n_attempts=n_attempts, n_sane=n_sane,
        on_gpus=gpu_seconds > 0,
    )  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """A mean over seeds with its 95% bootstrap interval; without one where there is a single seed."""

    mean: float
    low: float | None
    high: float | None
    n: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Arm:
    """One configuration's runs.

    Attributes:
        best: By means, at the equal amounts.
        mean: Fitness of all designs found.
        valid: Share of attempts that passed the checker.
        used: By means, in all.
        against: `best` by designs, paired by seed with the first configuration's, corrected for all; None for the first, and
            where no seed is shared.
    """

    name: str
    n_runs: int
    best: Mapping[Means, Estimate | None]
    mean: Estimate | None
    valid: Estimate | None
    used: Mapping[Means, Estimate | None]
    against: Comparison | None


def equal_amounts(courses: Iterable[Course], budget: Mapping[Means, float] | None = None) -> dict[Means, float]:
    """What all runs have used of each means, and no more than the budget; a run that uses none of it is no bound."""
    ends = [course.end for course in courses]
    return {
        means: min(
            [amount for end in ends if (amount := float(getattr(end, means))) > 0]
            + [(budget or {}).get(means, inf)]
        )
        for means in MEANS
    }  # fmt: skip


def compare_arms(runs: Mapping[str, Mapping[int, Course]], amounts: Mapping[Means, float]) -> list[Arm]:
    """One row a configuration, in their order; the first is the one that the others are compared with."""
    first = next(iter(runs.values()), {})
    return [
        _arm(name, by_seed, first if by_seed is not first else {}, amounts, len(runs)) for name, by_seed in runs.items()
    ]


def _arm(
    name: str, by_seed: Mapping[int, Course], first: Mapping[int, Course], amounts: Mapping[Means, float], n_arms: int
) -> Arm:
    each = [by_seed[seed] for seed in sorted(by_seed)]
    shared = [(by_seed[s], first[s]) for s in sorted(by_seed.keys() & first.keys())]
    at = amounts["designs"]
    pairs = [(a, b) for x, y in shared if (a := x.best_at("designs", at)) is not None
             and (b := y.best_at("designs", at)) is not None]  # fmt: skip
    return Arm(
        name=name, n_runs=len(each),
        best={means: _estimate([c.best_at(means, amounts[means]) for c in each]) for means in MEANS},
        mean=_estimate([fmean(c.found) if c.found else None for c in each]),
        valid=_estimate([c.n_sane / c.n_attempts if c.n_attempts else None for c in each]),
        used={means: _estimate([float(getattr(c.end, means)) for c in each]) for means in MEANS},
        against=compare(pairs, best_of=max(1, n_arms - 1)) if pairs else None,
    )  # fmt: skip


def _estimate(values: Sequence[float | None]) -> Estimate | None:
    found = [value for value in values if value is not None]
    if not found:
        return None
    low, high = bootstrap_interval(found) if len(found) > 1 else (None, None)
    return Estimate(mean=fmean(found), low=low, high=high, n=len(found))


def bootstrap_interval(values: Sequence[float]) -> tuple[float, float]:
    """95% of the means of resampled values lie within; the same for equal values in equal order.

    Does not cover: what seeds beyond these would show. Of few values, below five say, it is too narrow.
    """
    rng = Random(0)
    means = sorted(fmean(rng.choices(values, k=len(values))) for _ in range(N_RESAMPLES))
    return means[round(0.025 * N_RESAMPLES)], means[round(0.975 * N_RESAMPLES) - 1]
