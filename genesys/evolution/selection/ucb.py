"""Selection by upper confidence bounds: fit designs, and fit ones that were built upon little."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from math import log, sqrt
from random import Random

from genesys.errors import ConfigError
from genesys.evolution.design import DesignView
from genesys.evolution.population import Population
from genesys.evolution.selection.base import OperatorRates, Selection, value_of


@dataclass(frozen=True, slots=True, kw_only=True)
class UpperConfidenceBound:
    """The design with the largest `value + c * sqrt(ln N / (1 + children))`, among a few dozen candidates.

    `value` is fitness on an axis where the median of the rated designs is 0 and the fittest 1, lower ones 0; `N` counts all
    designs. Candidates are the fittest and as many by lot, so that the cost does not grow with the population: exact
    among the fittest, a sample of the long tail, whose members differ in little but their children.

    Attributes:
        c: Weight of the bonus for few children.
        n_best, n_drawn: Candidates of either kind.

    Source: Auer et al. 2002 (UCB1), each design an arm that is pulled by making a child of it.
    """

    c: float = 0.5
    n_best: int = 32
    n_drawn: int = 32
    rates: OperatorRates = field(default_factory=OperatorRates)

    def __post_init__(self) -> None:
        if not self.c >= 0 or self.n_best < 0 or self.n_drawn < 1:
            raise ConfigError(
                f"Cannot select by bounds with c {self.c}, n_best {self.n_best} and n_drawn {self.n_drawn}; "
                "expected numbers from 0, and 1 drawn at least."
            )

    def select(self, population: Population, *, rng: Random) -> Selection:
        return self.rates.plan(population, rng, lambda: self._winner(population, rng), "highest confidence bound")

    def _winner(self, population: Population, rng: Random) -> DesignView:
        candidates = {v.id: v for v in (*population.sample(rng, self.n_drawn), *population.top(self.n_best))}
        shuffled = rng.sample(tuple(candidates.values()), len(candidates))  # a tie goes to the first, so by lot
        return max(shuffled, key=self._bounds(population))

    def _bounds(self, population: Population) -> Callable[[DesignView], float]:
        """The bound of a design."""
        best, median = population.quantile(1.0), population.quantile(0.5)
        low = 0.0 if median is None else value_of(median)
        spread = 0.0 if best is None else value_of(best) - low
        n = log(len(population) + 1)

        def bound(view: DesignView) -> float:
            value = (value_of(view) - low) / spread if spread > 0 else 0.0
            return max(value, 0.0) + self.c * sqrt(n / (1 + len(population.children(view.id))))

        return bound
