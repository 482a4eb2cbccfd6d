"""Tournament selection, with or without ageing."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import inf
from random import Random

from genesys.errors import ConfigError
from genesys.evolution.design import DesignView
from genesys.evolution.population import Population
from genesys.evolution.selection.base import OperatorRates, Selection


@dataclass(frozen=True, slots=True, kw_only=True)
class Tournament:
    """The fittest of a few designs drawn by lot; unrated ones lose to rated ones.

    Attributes:
        size: Contestants.
        max_age: Contestants must be among the youngest so many eligible designs, which keeps a population moving;
            0 lets all take part.

    Source: Goldberg & Deb 1991; ageing after Real et al. 2019, "Regularized Evolution".
    """

    size: int = 4
    max_age: int = 0
    rates: OperatorRates = field(default_factory=OperatorRates)

    def __post_init__(self) -> None:
        if self.size < 1 or self.max_age < 0:
            raise ConfigError(
                f"Cannot hold tournaments of size {self.size} and age {self.max_age}; expected >= 1 and >= 0."
            )

    def select(self, population: Population, *, rng: Random) -> Selection:
        return self.rates.plan(population, rng, lambda: self._winner(population, rng), f"best of {self.size}")

    def _winner(self, population: Population, rng: Random) -> DesignView:
        if self.max_age:
            young = population.youngest(self.max_age)
            contestants = tuple(young[i] for i in rng.sample(range(len(young)), min(self.size, len(young))))
        else:
            contestants = population.sample(rng, self.size)
        return max(contestants, key=_value)  # the first drawn wins a tie, so ties are by lot


def _value(view: DesignView) -> float:
    return view.best.value if view.best is not None else -inf
