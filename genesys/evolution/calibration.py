"""What the scores of reviewers and observers are worth: against later fitness, over time, and on proposals known to be bad."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from math import atanh, sqrt, tanh
from statistics import NormalDist, fmean

from genesys.evolution.events import ProposalFailed
from genesys.evolution.inference import t_quantile
from genesys.evolution.tree import EvolutionTree

MIN_RANKED = 10  # below, four designs in one order would be a correlation of 1 with no doubt at all
MIN_FITTED = 3
PLANTED = "planted.rating"
_Z_95 = NormalDist().inv_cdf(0.975)


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    """An estimate with its 95% interval; None where there is too little to tell."""

    value: float | None
    low: float | None
    high: float | None
    n: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreCalibration:
    """One score, such as `reviewer.rating`.

    Attributes:
        mean: Over all sessions that have it.
        against_fitness: Spearman's rank correlation with the design's fitness at the scale.
        inflation: What the score gains in 100 sessions, by least squares in their order; 0 for a steady reviewer.
    """

    score: str
    mean: float
    against_fitness: Interval
    inflation: Interval


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """What a run's scores were worth.

    Attributes:
        scores: By name, without those of planted proposals.
        planted: Share of the planted proposals that passed the bar.
    """

    scale: str
    bar: float
    scores: tuple[ScoreCalibration, ...]
    planted: Interval


def calibrate(tree: EvolutionTree, bar: float, scale: str | None = None) -> Calibration:
    """Hold a run's scores against what became of what was scored.

    Designs are compared at the bottom by default, where none was chosen by its fitness. Not covered: a proposal below the bar
    is never verified, so that correlations are those among the passed, which a bar makes weaker.
    """
    where = scale or tree.scales[0]
    sessions = _sessions(tree)
    names = sorted({name for _, scores in sessions for name in scores} - {PLANTED})

    def fitness(design: str) -> float | None:
        found = tree.ratings.fitness(tree.record(design).inherited_from or design).get(where) if design else None
        return None if found is None else found.value

    planted = [scores[PLANTED] >= bar for _, scores in sessions if PLANTED in scores]
    return Calibration(
        scale=where, bar=bar, scores=tuple(_calibrated(name, sessions, fitness) for name in names),
        planted=share(sum(planted), len(planted)),
    )  # fmt: skip


def rank_correlation(pairs: Sequence[tuple[float, float]]) -> Interval:
    """Spearman's rank correlation; ties share their mean rank.

    Source: the interval by Fisher's z with the variance of Bonett and Wright 2000.
    """
    n = len(pairs)
    if n < MIN_RANKED:
        return Interval(value=None, low=None, high=None, n=n)
    xs, ys = (_ranks([pair[side] for pair in pairs]) for side in (0, 1))
    spread = sqrt(_squares(xs) * _squares(ys))
    if not spread:
        return Interval(value=None, low=None, high=None, n=n)
    mean = (n + 1) / 2
    rho = sum((x - mean) * (y - mean) for x, y in zip(xs, ys, strict=True)) / spread
    most = 1 - 1 / (n * n)  # one order among so many: the interval of 1 itself would have no width
    z = atanh(max(-most, min(most, rho)))
    half = _Z_95 * sqrt((1 + rho**2 / 2) / (n - 3))
    return Interval(value=rho, low=tanh(z - half), high=tanh(z + half), n=n)


def slope(pairs: Sequence[tuple[float, float]]) -> Interval:
    """Least squares' slope with Student's interval."""
    n = len(pairs)
    if n < MIN_FITTED or not (squares := _squares([x for x, _ in pairs])):
        return Interval(value=None, low=None, high=None, n=n)
    x_mean, y_mean = fmean(x for x, _ in pairs), fmean(y for _, y in pairs)
    value = sum((x - x_mean) * (y - y_mean) for x, y in pairs) / squares
    left = sum((y - y_mean - value * (x - x_mean)) ** 2 for x, y in pairs)
    half = t_quantile(n - 2) * sqrt(left / (n - 2) / squares)
    return Interval(value=value, low=value - half, high=value + half, n=n)


def share(n_hits: int, n: int) -> Interval:
    """A share with Wilson's interval."""
    if not n:
        return Interval(value=None, low=None, high=None, n=0)
    p, z2 = n_hits / n, _Z_95**2
    centre = (p + z2 / (2 * n)) / (1 + z2 / n)
    half = _Z_95 * sqrt(p * (1 - p) / n + z2 / (4 * n * n)) / (1 + z2 / n)
    return Interval(value=p, low=max(0.0, centre - half), high=min(1.0, centre + half), n=n)


def _sessions(tree: EvolutionTree) -> list[tuple[str, dict[str, float]]]:
    """Design ("" for none) and scores of each session that ended, in the order of their numbers."""
    ended: Iterable[tuple[str, str, dict[str, float]]] = [
        *((r.session, r.id, dict(r.scores)) for r in map(tree.record, tree.authored)),
        *(_failed(event) for event in tree.failed_sessions),
    ]
    return [(design, scores) for session, design, scores in sorted(ended, key=lambda end: (len(end[0]), end[0]))]


def _failed(event: ProposalFailed) -> tuple[str, str, dict[str, float]]:
    return event.session, "", dict(event.scores)


def _calibrated(
    name: str, sessions: Sequence[tuple[str, dict[str, float]]], fitness: Callable[[str], float | None]
) -> ScoreCalibration:
    scored = [(place, design, scores[name]) for place, (design, scores) in enumerate(sessions) if name in scores]
    rated = [(score, found) for _, design, score in scored if (found := fitness(design)) is not None]
    return ScoreCalibration(
        score=name, mean=fmean(score for *_, score in scored), against_fitness=rank_correlation(rated),
        inflation=slope([(place / 100, score) for place, _, score in scored]),
    )  # fmt: skip


def _ranks(values: Sequence[float]) -> list[float]:
    first = {value: place for place, value in reversed([*enumerate(sorted(values), 1)])}
    counts = Counter(values)
    return [first[value] + (counts[value] - 1) / 2 for value in values]


def _squares(values: Sequence[float]) -> float:
    mean = fmean(values)
    return sum((value - mean) ** 2 for value in values)
