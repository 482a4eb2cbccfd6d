"""Who leads: the highest rung first, fitness there second."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from genesys.evolution.rating import Fitness
from genesys.evolution.tree import EvolutionTree


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaderboardRow:
    """One design at the highest scale where it is rated; `metrics` and `size` are those of that scale."""

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


def leaderboard(tree: EvolutionTree, limit: int | None = None) -> list[LeaderboardRow]:
    """The rated designs, best first.

    A design that failed higher up keeps its place by what it has reached; one whose scale still waits for the
    reference stands at the rung below, or not at all.
    """
    rows: list[LeaderboardRow] = []
    for place, design in enumerate(tree.ratings.standing, start=1):
        if limit is not None and place > limit:
            break
        rows.append(_row(tree, place, design))
    return rows


def _row(tree: EvolutionTree, place: int, design: str) -> LeaderboardRow:
    record = tree.record(design)
    scale, fitness = tuple(tree.ratings.fitness(design).items())[-1]
    run = record.committed(scale)[0]
    return LeaderboardRow(
        place=place, design=design, name=record.name, scale=scale, rung=tree.scales.index(scale), fitness=fitness,
        is_seed=record.is_seed, operator=record.operator, metrics=run.metrics, size=record.sizes.get(scale, {}),
        n_tokens=run.n_tokens, seconds=run.seconds, report=run.report,
    )  # fmt: skip
