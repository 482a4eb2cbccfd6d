"""Who leads: the highest rung first, fitness there second; and how much of a lead is luck."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from genesys.evolution.comparison import against_reference
from genesys.evolution.design import DesignState
from genesys.evolution.inference import Comparison, expected_maximum, maximum_quantile
from genesys.evolution.rating import Z_95, Fitness
from genesys.evolution.tree import EvolutionTree


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaderboardRow:
    """One design at the highest scale where it is rated; `metrics` and `size` are those of its first run there.

    Attributes:
        n_seeds: Training seeds behind `fitness`.
        twins: Names of designs that compute the same and inherit its results.
        against_reference: Paired with the reference over common seeds, corrected for all designs rated at that scale;
            None for the reference itself and without a common seed.
    """

    place: int
    design: str
    name: str
    scale: str
    rung: int
    fitness: Fitness
    is_seed: bool
    operator: str
    metrics: Mapping[str, float]
    size: Mapping[str, Any]
    n_tokens: int
    seconds: float
    report: str
    n_seeds: int = 1
    against_reference: Comparison | None = None
    twins: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Lead:
    """How far the best of k designs stands above their mean, beside what luck alone gives the best of k equal ones.

    Attributes:
        lead: Fitness above the mean of all designs rated at the scale, the best included.
        luck: What k equal designs with the leader's error would give on average: the expected maximum of k normal
            errors.
        luck_95: What they would stay below in 95% of cases; a lead inside it shows nothing.
    """

    design: str
    scale: str
    n_designs: int
    n_seeds: int
    lead: float
    luck: float
    luck_95: float


def leaderboard(tree: EvolutionTree, limit: int | None = None) -> list[LeaderboardRow]:
    """The rated designs, best first.

    A design that failed higher up keeps its place by what it has reached; one whose scale still waits for the
    reference stands at the rung below, or not at all.
    """
    rows: list[LeaderboardRow] = []
    twins: dict[str, list[str]] = {}
    for twin in map(tree.record, tree.in_state(DesignState.TWIN)):
        twins.setdefault(twin.inherited_from, []).append(twin.name)
    for place, design in enumerate(tree.ratings.standing, start=1):
        if limit is not None and place > limit:
            break
        rows.append(_row(tree, place, design, tuple(sorted(twins.get(design, ())))))
    return rows


def lead_of_best(tree: EvolutionTree) -> Lead | None:
    """The single best design among those of its scale; None before there are two.

    The mean of k designs moves with the best of them, and designs that are worse than the rest lower it: a lead beyond
    luck says that the designs differ, not yet that the best is better than the second.
    """
    if not len(tree.ratings.standing):
        return None
    best = tree.ratings.standing[0]
    scale, fitness = tuple(tree.ratings.fitness(best).items())[-1]
    values = [f.value for d in tree.ratings.by_scale[scale] if (f := tree.ratings.fitness_at(d, scale)) is not None]
    if len(values) < 2:
        return None
    error = (fitness.high - fitness.low) / (2.0 * Z_95)
    return Lead(
        design=best, scale=scale, n_designs=len(values), n_seeds=len(tree.record(best).committed(scale)),
        lead=fitness.value - fmean(values), luck=error * expected_maximum(len(values)),
        luck_95=error * maximum_quantile(len(values), 0.95),
    )  # fmt: skip


def _row(tree: EvolutionTree, place: int, design: str, twins: tuple[str, ...]) -> LeaderboardRow:
    record = tree.record(design)
    scale, fitness = tuple(tree.ratings.fitness(design).items())[-1]
    runs = record.committed(scale)
    run = runs[0]
    return LeaderboardRow(
        place=place, design=design, name=record.name, scale=scale, rung=tree.scales.index(scale), fitness=fitness,
        is_seed=record.is_seed, operator=record.operator, metrics=run.metrics, size=record.sizes.get(scale, {}),
        n_tokens=run.n_tokens, seconds=run.seconds, report=run.report, n_seeds=len({r.seed for r in runs}),
        against_reference=against_reference(tree, design, scale, best_of=max(1, len(tree.ratings.by_scale[scale]) - 1)),
        twins=twins,
    )  # fmt: skip
