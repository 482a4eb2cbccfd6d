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

    `value` is fitness on an axis where the median of the rated designs is 0 and the fittest 1, lower ones 0; `N` counts
    all designs. Candidates are the fittest and as many by lot, so that the cost does not grow with the population: exact
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
        found = iter(self._candidates(population, rng))
        return self.rates.plan(
            population, rng, lambda: next(found, None) or population.sample(rng, 1)[0], "highest bound"
        )

    def _candidates(self, population: Population, rng: Random) -> list[DesignView]:
        """The highest bound first, ties by lot."""
        found = {v.id: v for v in (*population.sample(rng, self.n_drawn), *population.top(self.n_best))}
        return sorted(rng.sample(tuple(found.values()), len(found)), key=self._bounds(population), reverse=True)

    def _bounds(self, population: Population) -> Callable[[DesignView], float]:
        """The bound of a design."""
        best, median = population.quantile(1.0), population.quantile(0.5)
        high, low = (value_of(best), value_of(median)) if best and median else (0.0, 0.0)
        n = log(len(population) + 1)

        def bound(view: DesignView) -> float:
            value = value_of(view)
            share = (value - low) / (high - low) if high > low else float(value >= high)
            return max(share, 0.0) + self.c * sqrt(n / (1 + len(population.children(view.id))))

        return bound
