"""Regularised evolution: tournaments among the young."""

from __future__ import annotations

from dataclasses import dataclass, field
from random import Random

from genesys.errors import ConfigError
from genesys.evolution.design import DesignView
from genesys.evolution.population import Population
from genesys.evolution.selection.base import OperatorRates, Selection, value_of


@dataclass(frozen=True, slots=True, kw_only=True)
class RegularizedEvolution:
    """The fittest of a sample of the youngest designs: who is old makes way, however good it was.

    A lineage lasts only if its children measure well again, so that a lucky measurement is not built upon for ever.
    Nothing is deleted: the old ones stay in the tree, are verified further, and only cease to be parents.

    Attributes:
        population: Designs alive: the so many eligible ones proposed last.
        sample: Contestants drawn from them.

    Source: Real et al. 2019 (arXiv 1802.01548), algorithm 1; sizes of their main experiment.
    """

    population: int = 100
    sample: int = 25
    rates: OperatorRates = field(default_factory=OperatorRates)

    def __post_init__(self) -> None:
        if not 1 <= self.sample <= self.population:
            raise ConfigError(
                f"Cannot sample {self.sample} of a population of {self.population}; expected 1 <= sample <= population."
            )

    def select(self, population: Population, *, rng: Random) -> Selection:
        alive = population.youngest(self.population)

        def winner() -> DesignView:
            places = rng.sample(range(len(alive)), min(self.sample, len(alive)))
            return max((alive[place] for place in places), key=value_of)

        return self.rates.plan(population, rng, winner, f"best of {self.sample} of the youngest {self.population}")
