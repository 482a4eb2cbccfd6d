"""Selection by lot: the baseline."""

from __future__ import annotations

from dataclasses import dataclass, field
from random import Random

from genesys.evolution.population import Population
from genesys.evolution.selection.base import OperatorRates, Selection


@dataclass(frozen=True, slots=True, kw_only=True)
class RandomSelection:
    """Any eligible design, all alike in chance."""

    rates: OperatorRates = field(default_factory=OperatorRates)

    def select(self, population: Population, *, rng: Random) -> Selection:
        return self.rates.plan(population, rng, lambda: population.sample(rng, 1)[0], "by lot")
