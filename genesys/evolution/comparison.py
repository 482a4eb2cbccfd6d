"""Two designs of a run against each other, training seed by training seed.

Runs of one scale, recipe and seed saw the same batches in the same order and drew their initial weights from the same
stream, so much of what chance does to one it does to the other: the difference is compared, not the two means.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import sqrt
from statistics import fmean

from genesys.errors import ConfigError
from genesys.evolution.design import DesignRecord, Run
from genesys.evolution.inference import Comparison, compare
from genesys.evolution.rating import Z_95, Metrics
from genesys.evolution.tree import EvolutionTree

RunPair = tuple[Run, Run]
AbsentAs = Callable[[Metrics, str], float | None]
"""What a run that lacks a metric counts as beside one that has it; None where the pair says nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricComparison:
    """One metric of both designs, their means over the paired seeds; in `comparison` more is better for A.

    A design that lacks the metric at a paired seed is not called better by it.

    Attributes:
        sign: 1 where more of the metric is better, -1 where less is.
    """

    metric: str
    sign: int
    a: float
    b: float
    comparison: Comparison


@dataclass(frozen=True, slots=True, kw_only=True)
class DesignComparison:
    """Design A against design B at one scale.

    Attributes:
        seeds: Training seeds at which both have a result under the same recipe.
        fitness: In units of the leaderboard.
        metrics: Each corrected for how many are listed.
        failed_a, failed_b: Seeds at which that design failed by its own fault; it is then never called better.
    """

    a: str
    b: str
    scale: str
    seeds: tuple[int, ...]
    fitness: Comparison
    metrics: tuple[MetricComparison, ...]
    failed_a: tuple[int, ...]
    failed_b: tuple[int, ...]


def common_scales(tree: EvolutionTree, a: str, b: str) -> tuple[str, ...]:
    """The scales at which two designs have a training seed in common, bottom first."""
    return tuple(scale for scale in tree.scales if paired_runs(tree.record(a), tree.record(b), scale))


def compare_designs(
    tree: EvolutionTree, a: str, b: str, scale: str, *, metrics: Mapping[str, int], best_of: int | None = None,
    absent_as: AbsentAs = lambda metrics, key: None,
) -> DesignComparison:  # fmt: skip
    """Compare two designs by what the books hold.

    Args:
        metrics: Metrics to compare besides the fitness, as far as there are results; 1 where more is better, else -1.
        best_of: From how many designs these two were picked by their results. By default as many as are rated there
            when one of the two leads them, else 1.
        absent_as: By default a pair of which one run lacks a metric is left out.

    Raises:
        ConfigError: They have no seed in common, or are one design.
    """
    first, second = tree.record(a), tree.record(b)
    if a == b:
        raise ConfigError(f"Cannot compare {first.name!r} with itself; expected two designs.")
    pairs = paired_runs(first, second, scale)
    if not pairs:
        raise ConfigError(
            f"Cannot compare {first.name!r} with {second.name!r} at scale {scale!r}: they have no training seed in common "
            f"({_say_seeds(first, scale)}; {_say_seeds(second, scale)}). Verify both with the same seed and recipe."
        )
    k = best_of if best_of is not None else picked_from(tree, (a, b), scale)
    results = {key: found for key in metrics if (found := _results(key, pairs, absent_as))}
    listed = [_metric(key, metrics[key], found, k * len(results)) for key, found in results.items()]
    return DesignComparison(
        a=a, b=b, scale=scale, seeds=tuple(x.seed for x, _ in pairs),
        fitness=withhold(compare_fitness(tree, pairs, scale, best_of=k), first, second, scale),
        metrics=tuple(
            replace(m, comparison=withhold(m.comparison, first, second, scale, pairs, m.metric)) for m in listed
        ),
        failed_a=failed_seeds(first, scale), failed_b=failed_seeds(second, scale),
    )  # fmt: skip


def against_reference(tree: EvolutionTree, design: str, scale: str, *, best_of: int) -> Comparison | None:
    """A design's fitness against the reference's; None for the reference, and where they share no seed."""
    if not tree.reference or design == tree.reference or tree.reference not in tree.records:
        return None
    first, second = tree.record(design), tree.record(tree.reference)
    pairs = paired_runs(first, second, scale)
    return withhold(compare_fitness(tree, pairs, scale, best_of=best_of), first, second, scale) if pairs else None


def measured_runs(tree: EvolutionTree, scale: str) -> dict[str, tuple[Run, ...]]:
    """The committed runs at a scale by design, in the order of proposals."""
    return {record.id: runs for record in tree if (runs := record.committed(scale))}


def paired_runs(a: DesignRecord, b: DesignRecord, scale: str) -> list[RunPair]:
    """The runs of equal seed and recipe at a scale, by seed."""
    others = {(run.seed, run.recipe): run for run in b.committed(scale)}
    found = [(run, others[run.seed, run.recipe]) for run in a.committed(scale) if (run.seed, run.recipe) in others]
    return sorted(found, key=lambda pair: (pair[0].seed, pair[0].recipe))


def compare_fitness(tree: EvolutionTree, pairs: Sequence[RunPair], scale: str, *, best_of: int = 1) -> Comparison:
    """Fitness of paired runs, in units of the leaderboard; the noise of one run is the rule's own, until there are two."""
    reference = [run.metrics for run in _reference_runs(tree, scale)] or None
    unit = tree.ratings.frame(scale).spread
    rate = tree.rule.rater(reference)
    rated = [[rate([run.metrics]) for run in pair] for pair in pairs]
    noise = sqrt(2.0) * fmean(r.half_width for pair in rated for r in pair) / Z_95 / unit
    return compare([(x.raw / unit, y.raw / unit) for x, y in rated], best_of=best_of, noise=noise or None)


def picked_from(tree: EvolutionTree, designs: Iterable[str], scale: str) -> int:
    """How many designs were rated at a scale if one of these leads there, else 1."""
    ranking = tree.ratings.by_scale[scale]
    return len(ranking) if len(ranking) and ranking[0] in designs else 1


def failed_seeds(record: DesignRecord, scale: str) -> tuple[int, ...]:
    """Seeds at which a design failed by its own fault."""
    return tuple(sorted({run.seed for run in record.runs if run.scale == scale and run.outcome == "failed"}))


def withhold(
    found: Comparison, a: DesignRecord, b: DesignRecord, scale: str, pairs: Sequence[RunPair] = (), metric: str = ""
) -> Comparison:
    """A comparison without its verdict, if that favours a design that failed at some seeds, or lacks the metric in a pair."""
    side = {"better": 0, "worse": 1}.get(found.verdict)
    if side is None:
        return found
    if failed_seeds((a, b)[side], scale) or any(metric not in pair[side].metrics for pair in pairs):
        return replace(found, verdict="not separated", n_more=None)
    return found


def _results(key: str, pairs: Sequence[RunPair], absent_as: AbsentAs) -> list[tuple[float, float]]:
    sides = [(x.metrics, y.metrics) for x, y in pairs if key in x.metrics or key in y.metrics]
    found = [(x.get(key, absent_as(y, key)), y.get(key, absent_as(x, key))) for x, y in sides]
    return [(x, y) for x, y in found if x is not None and y is not None]


def _metric(key: str, sign: int, found: Sequence[tuple[float, float]], best_of: int) -> MetricComparison:
    return MetricComparison(
        metric=key, sign=sign, a=fmean(x for x, _ in found), b=fmean(y for _, y in found),
        comparison=compare([(sign * x, sign * y) for x, y in found], best_of=best_of),
    )  # fmt: skip


def _reference_runs(tree: EvolutionTree, scale: str) -> tuple[Run, ...]:
    return tree.record(tree.reference).committed(scale) if tree.reference in tree.records else ()


def _say_seeds(record: DesignRecord, scale: str) -> str:
    seeds = ", ".join(str(run.seed) for run in record.committed(scale))
    return f"{record.name}: {seeds or 'none'}"
