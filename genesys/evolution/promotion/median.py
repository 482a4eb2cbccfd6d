"""Promotion by the median stopping rule: whoever falls behind the median of its rung stops there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from random import Random

from genesys.evolution.design import DesignView
from genesys.evolution.population import Population
from genesys.evolution.promotion.base import (
    Decline,
    Leftover,
    Promotion,
    check_leftover,
    declined,
    highest_climber,
)
from genesys.evolution.promotion.hurdle import value_at


@dataclass(frozen=True, slots=True, kw_only=True)
class MedianStopping:
    """Stops a design whose best fitness so far is below the median of its rung; the best of the others climbs.

    A rung is a training of its own, so a rung's results stand where the source has running averages of one training's
    curve. One good rung thus carries a design past a bad one.

    Attributes:
        leftover: See `Leftover`.
        n_examined: How many of those waiting, best first, are looked at for each scale.

    Source: Golovin et al. 2017, "Google Vizier", section 3.2.2.
    """

    leftover: Leftover = "best"
    n_examined: int = 16

    def __post_init__(self) -> None:
        check_leftover(self.leftover)

    def promote(
        self, population: Population, openings: Mapping[str, int], *, rng: Random
    ) -> Promotion | Decline | None:
        return highest_climber(population, openings, lambda k: self._climber(population, k)) or declined(
            openings, self.leftover, "every design that waits has fallen behind the median of its rung"
        )

    def _climber(self, population: Population, k: int) -> Promotion | None:
        scale, below = population.scales[k], population.scales[k - 1]
        median = value_at(population, below, 0.5)
        for view in population.unverified(scale)[: self.n_examined]:
            best = _best(population, view, k)
            if median is not None and best is not None and best >= median:
                return Promotion(design=view.id, scale=scale, reason=self.standing(population, view, scale))
        return None

    def standing(self, population: Population, view: DesignView, scale: str) -> str:
        k = population.scales.index(scale)
        below = population.scales[k - 1]
        median, best = value_at(population, below, 0.5), _best(population, view, k)
        if median is None or best is None:
            return f"nothing is rated at {below} yet"
        return f"best fitness {best:+.2f} up to {below}, whose median is {median:+.2f}"


def _best(population: Population, view: DesignView, k: int) -> float | None:
    """The best fitness of a design below a rung; None when it is not yet rated on the rung just below."""
    below = population.scales[:k]
    if below[-1] not in view.fitness:
        return None
    return max(view.fitness[scale].value for scale in below if scale in view.fitness)
