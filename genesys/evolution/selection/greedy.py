"""Greedy selection: always the best so far."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from random import Random

from genesys.evolution.design import DesignView
from genesys.evolution.population import Population
from genesys.evolution.selection.base import OperatorRates, Selection, n_first, value_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Greedy:
    """The fittest design, and the next fittest beside it for a crossover; by lot among those tied for first.

    A hill climber: what other strategies must beat to have earned their exploration.

    Source: the (1+1) evolution strategy, Rechenberg 1973; Russell & Norvig 2021, sec. 4.1 (hill climbing).
    """

    rates: OperatorRates = field(default_factory=OperatorRates)

    def select(self, population: Population, *, rng: Random) -> Selection:
        best = self._best(population, rng)
        return self.rates.plan(population, rng, lambda: next(best), "the fittest")

    def _best(self, population: Population, rng: Random) -> Iterator[DesignView]:
        """The fittest first, ties for first in random order; by lot when nothing is rated, and at the end."""
        rated = population.rated
        if rated:
            n_tied = n_first(rated, 0.0, value_of)
            for place in rng.sample(range(n_tied), min(n_tied, 2)):
                yield rated[place]
            yield from rated[n_tied : n_tied + 1]
        while True:
            yield population.sample(rng, 1)[0]
