"""What each task and probe tells about designs, for what it costs; and which are still unread.

A result over designs is signal plus noise. The noise of one run is known: its standard error over documents, and the
deviation over training seeds where designs have replicates. What is left of the spread over designs is signal.

All designs answer the same documents, and part of the error over documents is common to them: the noise given here is an
upper bound, the signal a lower one. Not covered: noise that several tasks share in one training counts as independent; a
handful of designs gives these figures wide errors of their own; a task that tells these designs apart need not tell
others.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import inf, sqrt
from statistics import fmean, variance

from genesys.evolution.comparison import measured_runs
from genesys.evolution.design import Run
from genesys.evolution.tree import EvolutionTree
from genesys.evolution.votes import error_of, score_of, task_names, task_of, votes

MIN_DESIGNS = 3
ENOUGH = 0.95
"""Share of the whole suite's reliability at which a proposed suite is large enough."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskSignal:
    """One vote over the designs of a scale, in normalised score (chance 0, perfect 1).

    Attributes:
        mean: Over designs.
        signal: Standard deviation over designs, less what noise adds to it.
        noise: Standard deviation of one run's result about its design's: documents and training seeds.
        seed_deviation: The part of training seeds, pooled over designs with several; None without any.
        reliability: Share of the variance over single runs that is signal, 0..1.
        cost: Of one evaluation, in the caller's unit; None when unknown.
    """

    vote: str
    n_designs: int
    n_replicated: int
    mean: float
    signal: float
    noise: float
    seed_deviation: float | None
    reliability: float
    cost: float | None

    @property
    def signal_to_noise(self) -> float:
        """Infinite where no noise was measured at all."""
        return self.signal / self.noise if self.noise > 0.0 else inf if self.signal > 0.0 else 0.0

    @property
    def worth(self) -> float:
        """Signal to noise by cost, as variances: so twice the documents, at twice the cost, are worth the same.

        By signal to noise alone when the cost is unknown.
        """
        return self.signal_to_noise**2 / (self.cost or 1.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Suite:
    """Votes in the order in which they were added.

    Attributes:
        reliability: Squared correlation, over designs, of the mean of these votes in one run with the mean of all
            votes free of noise; 0..1.
        of_all: The same for the mean of all votes, which is what there is to lose.
        cost, cost_of_all: None when a cost is unknown.
    """

    votes: tuple[str, ...]
    reliability: float
    of_all: float
    cost: float | None
    cost_of_all: float | None


class ScaleSignals:
    """The signals of one scale; votes that not all designs have are left out of a suite.

    Args:
        costs: By name of task or probe.
    """

    def __init__(self, tree: EvolutionTree, scale: str, costs: Mapping[str, float] | None = None) -> None:
        self._runs = measured_runs(tree, scale)
        self._costs = costs or {}
        every = [run.metrics for runs in self._runs.values() for run in runs]
        self._votes = votes(*every)
        self._whole = tuple(vote for vote in self._votes if all(vote in metrics for metrics in every))
        self._means = {vote: _means(self._with(vote), vote) for vote in self._votes}
        self._noise = {vote: noise_of(self._with(vote), vote) for vote in self._votes}

    @property
    def n_designs(self) -> int:
        return len(self._runs)

    def tasks(self) -> list[TaskSignal]:
        """Every vote, the most worth first."""
        found = [self._signal(vote) for vote in self._votes]
        if any(signal.cost is None for signal in found):
            return sorted(found, key=lambda s: (-s.signal_to_noise, s.vote))
        return sorted(found, key=lambda s: (-s.worth, s.vote))

    def propose(self) -> Suite | None:
        """The suite grown greedily by added reliability for its cost, until it has 95% of what all votes have.

        None when there are fewer than 3 designs, or noise outweighs the votes altogether.
        """
        of_all = self.reliability(self._whole)
        if self.n_designs < MIN_DESIGNS or not of_all > 0.0:
            return None
        chosen: tuple[str, ...] = ()
        reached = 0.0
        while reached < ENOUGH * of_all:
            rest = [vote for vote in self._whole if vote not in chosen]
            gains = {vote: self.reliability((*chosen, vote)) - reached for vote in rest}
            best = max(rest, key=lambda vote: (gains[vote] / (self._price(vote) if gains[vote] > 0.0 else 1.0), vote))
            chosen = (*chosen, best)
            reached = self.reliability(chosen)
        return Suite(
            votes=chosen, reliability=reached, of_all=of_all, cost=self._total(chosen), cost_of_all=self._total(self._whole)
        )  # fmt: skip

    def reliability(self, suite: Sequence[str]) -> float:
        """Squared correlation of one run's mean over a suite with the mean of all votes, noise taken out of the latter."""
        if not suite or self.n_designs < MIN_DESIGNS:
            return 0.0
        ours, whole = self._mean_of(suite), self._mean_of(self._whole)
        both = _covariance(ours, whole) - self._shared(suite, self._whole, of_means=True)
        of_whole = _covariance(whole, whole) - self._shared(self._whole, self._whole, of_means=True)
        signal = max(0.0, _covariance(ours, ours) - self._shared(suite, suite, of_means=True))
        of_ours = signal + self._shared(suite, suite, of_means=False)
        if not (both > 0.0 and of_whole > 0.0 and of_ours > 0.0):
            return 0.0
        return min(1.0, both * both / (of_ours * of_whole))

    def _mean_of(self, suite: Sequence[str]) -> list[float]:
        return [fmean(self._means[vote][design] for vote in suite) for design in self._runs]

    def _shared(self, one: Sequence[str], other: Sequence[str], *, of_means: bool) -> float:
        """Covariance that noise brings to the means over two suites, as measured here or in single runs."""
        variances = (self._noise[vote][1 if of_means else 0] for vote in one if vote in other)
        return sum(variances) / (len(one) * len(other))

    def _signal(self, vote: str) -> TaskSignal:
        runs, means = self._with(vote), list(self._means[vote].values())
        of_run, of_mean = self._noise[vote]
        spread = variance(means) if len(means) > 1 else 0.0
        signal = max(0.0, spread - of_mean)
        return TaskSignal(
            vote=vote, n_designs=len(runs), n_replicated=sum(len(found) > 1 for found in runs.values()),
            mean=fmean(means), signal=sqrt(signal), noise=sqrt(of_run), seed_deviation=_seed_deviation(runs, vote),
            reliability=signal / (signal + of_run) if signal > 0.0 else 0.0, cost=self._costs.get(task_of(vote)),
        )  # fmt: skip

    def _with(self, vote: str) -> dict[str, list[Run]]:
        found = {design: [run for run in runs if vote in run.metrics] for design, runs in self._runs.items()}
        return {design: runs for design, runs in found.items() if runs}

    def _price(self, vote: str) -> float:
        """Its cost where those of all votes are known, else 1."""
        return self._costs[task_of(vote)] if self._total(self._whole) else 1.0

    def _total(self, suite: Iterable[str]) -> float | None:
        names = [task_of(vote) for vote in suite]
        return sum(self._costs[name] for name in names) if all(self._costs.get(name) for name in names) else None


def noise_of(runs: Mapping[str, Sequence[Run]], vote: str) -> tuple[float, float]:
    """Variance of one run's result about its design's, and of the mean over a design's runs."""
    documents = fmean(error_of(run.metrics, vote) ** 2 for found in runs.values() for run in found)
    seeds = (_seed_deviation(runs, vote) or 0.0) ** 2
    return documents + seeds, documents + seeds * fmean(1.0 / len(found) for found in runs.values())


def read_tasks(tree: EvolutionTree) -> tuple[str, ...]:
    """Tasks and probes that fitness has read at any scale, so that selection or promotion may have: no final judges.

    The test split of the corpus is read as well, by every fitness that counts bits.
    """
    metrics = [run.metrics for record in tree for run in record.runs if run.outcome == "committed"]
    return tuple(sorted({*task_names(*metrics), *(task_of(vote) for vote in votes(*metrics))}))


def untouched(tree: EvolutionTree, tasks: Iterable[str]) -> tuple[str, ...]:
    """Those of some tasks that this run has not read, by name.

    A name that begins with another's and an underscore counts as a member of that group: with `blimp`,
    `blimp_adjunct_island` is read as well, and the other way round.
    """
    read = read_tasks(tree)
    return tuple(task for task in tasks if not any(_overlap(task, other) for other in read))


def _overlap(one: str, other: str) -> bool:
    return f"{one}_".startswith(f"{other}_") or f"{other}_".startswith(f"{one}_")


def _means(runs: Mapping[str, Sequence[Run]], vote: str) -> dict[str, float]:
    return {design: fmean(score_of(run.metrics, vote) for run in found) for design, found in runs.items()}


def _seed_deviation(runs: Mapping[str, Sequence[Run]], vote: str) -> float | None:
    groups = [[score_of(run.metrics, vote) for run in found] for found in runs.values() if len(found) > 1]
    freedom = sum(len(group) - 1 for group in groups)
    return sqrt(sum(variance(group) * (len(group) - 1) for group in groups) / freedom) if freedom else None


def _covariance(x: Sequence[float], y: Sequence[float]) -> float:
    mean_x, mean_y = fmean(x), fmean(y)
    return sum((a - mean_x) * (b - mean_y) for a, b in zip(x, y, strict=True)) / (len(x) - 1)
