"""Tournament selection."""

from __future__ import annotations

from dataclasses import dataclass, field
from random import Random

from genesys.errors import ConfigError
from genesys.evolution.design import DesignView
from genesys.evolution.population import Population
from genesys.evolution.selection.base import OperatorRates, Selection, value_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Tournament:
    """The fittest of a few designs drawn by lot; unrated ones lose to rated ones.

    Attributes:
        size: Contestants.

    Source: Goldberg & Deb 1991, "A comparative analysis of selection schemes used in genetic algorithms".
    """

    size: int = 4
    rates: OperatorRates = field(default_factory=OperatorRates)

    def __post_init__(self) -> None:
        if self.size < 1:
            raise ConfigError(f"Cannot hold tournaments of size {self.size}; expected size >= 1.")

    def select(self, population: Population, *, rng: Random) -> Selection:
        def winner() -> DesignView:
            return max(population.sample(rng, self.size), key=value_of)  # the first drawn wins a tie: ties are by lot

        return self.rates.plan(population, rng, winner, f"best of {self.size}")
