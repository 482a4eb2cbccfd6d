"""The paper's selection: fitness against confidence, in quadrants."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from math import ceil
from random import Random

from genesys.errors import ConfigError
from genesys.evolution.design import DesignView
from genesys.evolution.population import Population
from genesys.evolution.selection.base import OperatorRates, Selection


@dataclass(frozen=True, slots=True, kw_only=True)
class QuadrantSelection:
    """Parents that are good and confident with probability .8 (exploit), poor and confident otherwise (explore).

    Good is the best quarter by fitness, each design by its highest scale; confident the best quarter by confidence
    points. Both are cut by place, ties in an arbitrary fixed order, so that each holds at least one design however
    many are tied. An empty quadrant gives way to the other one, and that to the whole population. A quadrant is
    sampled by rejection, the better places likelier: its cost does not grow with the population.

    Attributes:
        good_share, confident_share: Where the axes are cut.
        exploit: Probability of the first quadrant.
        n_tries: Draws until a quadrant counts as empty.

    Source: Cheng et al. 2025 (arXiv 2506.20249); shares and probabilities as in the published implementation.
    """

    good_share: float = 0.25
    confident_share: float = 0.25
    exploit: float = 0.8
    n_tries: int = 32
    rates: OperatorRates = field(default_factory=OperatorRates)

    def __post_init__(self) -> None:
        for name in ("good_share", "confident_share", "exploit"):
            if not 0 <= getattr(self, name) <= 1:
                raise ConfigError(f"Cannot select by quadrants with {name} {getattr(self, name)}; expected 0..1.")

    def select(self, population: Population, *, rng: Random) -> Selection:
        exploiting = rng.random() < self.exploit
        reason = "exploit: good and confident" if exploiting else "explore: poor and confident"
        return self.rates.plan(population, rng, lambda: self._parent(population, rng, exploiting), reason)

    def _parent(self, population: Population, rng: Random, exploiting: bool) -> DesignView:
        good, poor = self._good(population), self._poor(population)
        for draw in (good, poor) if exploiting else (poor, good):
            found = self._draw(population, rng, draw)
            if found is not None:
                return found
        return population.sample(rng, 1)[0]

    def _draw(
        self, population: Population, rng: Random, draw: Callable[[Random], DesignView | None]
    ) -> DesignView | None:
        for _ in range(self.n_tries):
            view = draw(rng)
            if view is None:
                return None
            share = population.confidence_share(view.id)
            if share is not None and share < self.confident_share:
                return view
        return None

    def _good(self, population: Population) -> Callable[[Random], DesignView | None]:
        rated = population.rated
        n = ceil(self.good_share * len(rated))
        return lambda rng: rated[_lean(rng, n)] if n else None

    def _poor(self, population: Population) -> Callable[[Random], DesignView | None]:
        rated = population.rated
        first = ceil(self.good_share * len(rated))
        n = len(rated) - first
        return lambda rng: rated[first + _lean(rng, n)] if n else None


def _lean(rng: Random, n: int) -> int:
    """A place below n, the first ones likelier: weights n, n-1, ..., 1."""
    return min(rng.randrange(n), rng.randrange(n))
