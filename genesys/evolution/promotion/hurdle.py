"""Promotion over a hurdle: a design climbs if it clears the bar of its rung."""

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


@dataclass(frozen=True, slots=True, kw_only=True)
class Hurdle:
    """The best that clears the bar climbs, the highest rung first; new designs take what is left.

    The bar is the reference's fitness at the rung plus a margin, or a quantile of all that were measured there; where the
    reference has no result it is their median. Clearing it takes no rank: as many climb as there is quota for.

    Attributes:
        margin: In units of the fitness axis, which for the standardised one is the spread of the seeds.
        quantile: Share of the rung's designs, 0 to 1, that a design must be as good as; None for the reference.
        leftover: See `Leftover`; `unspent` saves the upper rungs where nothing deserves them.

    Source: So, Liang and Le 2019, "The Evolved Transformer" (progressive dynamic hurdles, there the mean of the rung).
    """

    margin: float = 0.0
    quantile: float | None = None
    leftover: Leftover = "best"

    def __post_init__(self) -> None:
        check_leftover(self.leftover)
        if self.quantile is not None and not 0 <= self.quantile <= 1:
            raise ValueError(f"quantile is {self.quantile}; expected 0 to 1")

    def promote(
        self, population: Population, openings: Mapping[str, int], *, rng: Random
    ) -> Promotion | Decline | None:
        return highest_climber(population, openings, lambda k: self._climber(population, k)) or declined(
            openings, self.leftover, f"no design that waits clears the bar: {self._bar_text()}"
        )

    def _climber(self, population: Population, k: int) -> Promotion | None:
        waiting = population.unverified(population.scales[k])  # the best of the rung below stands first
        if not waiting or not self._clears(population, waiting[0], k - 1):
            return None
        view, scale = waiting[0], population.scales[k]
        return Promotion(
            design=view.id, scale=scale, reason=f"cleared the bar: {self.standing(population, view, scale)}"
        )

    def _clears(self, population: Population, view: DesignView, k: int) -> bool:
        fitness, bar = view.fitness.get(population.scales[k]), self._bar(population, population.scales[k])
        return fitness is not None and bar is not None and fitness.value >= bar

    def _bar(self, population: Population, scale: str) -> float | None:
        reference = population.get(population.reference) if population.reference in population else None
        if self.quantile is None and reference is not None and scale in reference.fitness:
            return reference.fitness[scale].value + self.margin
        return value_at(population, scale, 0.5 if self.quantile is None else self.quantile)

    def _bar_text(self) -> str:
        if self.quantile is None:
            margin = f"{abs(self.margin):g} {'above' if self.margin > 0 else 'below'} " if self.margin else ""
            return f"{margin}the reference's fitness"
        return f"the {self.quantile:.0%} quantile of its rung"

    def standing(self, population: Population, view: DesignView, scale: str) -> str:
        below = population.scales[population.scales.index(scale) - 1]
        bar = self._bar(population, below)
        if bar is None or below not in view.fitness:
            return f"nothing is rated at {below} yet"
        return f"fitness {view.fitness[below].value:+.2f} at {below}, where {bar:+.2f} is needed ({self._bar_text()})"


def value_at(population: Population, scale: str, quantile: float) -> float | None:
    """The fitness at a scale that a share of those measured there stays at or below; None while there are none."""
    measured = population.at(scale)
    return measured[int((1 - quantile) * (len(measured) - 1))].fitness[scale].value if measured else None
