"""The paper's selection: fitness against confidence, in quadrants."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random

from genesys.errors import ConfigError
from genesys.evolution.design import DesignView
from genesys.evolution.population import Population
from genesys.evolution.selection.base import OperatorRates, Selection, fitter_of_two, n_first, value_of

Draw = Callable[[], DesignView | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class QuadrantSelection:
    """Parents that are good and confident with probability .8 (exploit), poor and confident otherwise (explore).

    Good is who is as fit as the last of the best quarter, each design by its highest scale, and poor is who is strictly
    less fit than that; confident is who has as many confidence points as the last of the best quarter. Whoever is tied
    is treated alike: when all are, all are good and confident, and none is left out for its id. An empty quadrant gives
    way to the other one, and that to the whole population. A quadrant is sampled by rejection, the fitter of
    the good likelier, so that its cost does not grow with the population.

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
        if self.n_tries < 1:
            raise ConfigError(f"Cannot select by quadrants with n_tries {self.n_tries}; expected n_tries >= 1.")

    def select(self, population: Population, *, rng: Random) -> Selection:
        exploiting = rng.random() < self.exploit
        reason = "exploit: good and confident" if exploiting else "explore: poor and confident"
        return self.rates.plan(population, rng, lambda: self._parent(population, rng, exploiting), reason)

    def _parent(self, population: Population, rng: Random, exploiting: bool) -> DesignView:
        good, poor = self._quadrants(population, rng)
        draws = (good, poor) if exploiting else (poor, good)
        found = (view for draw in draws for _ in range(self.n_tries) if (view := draw()) is not None)
        return next(found, None) or population.sample(rng, 1)[0]

    def _quadrants(self, population: Population, rng: Random) -> tuple[Draw, Draw]:
        """A draw from either quadrant, which may fail."""
        fit, sure = population.rated, population.eligible
        n_good, n_sure = n_first(fit, self.good_share, value_of), n_first(sure, self.confident_share, _points)
        if not n_good:
            return _nobody, _nobody
        least_fit, least_sure = value_of(fit[n_good - 1]), _points(sure[n_sure - 1])

        def good() -> DesignView | None:
            view = fitter_of_two(lambda: fit[rng.randrange(n_good)])
            return view if view.confidence >= least_sure else None

        def poor() -> DesignView | None:  # from the confident: they are the fewer
            view = sure[rng.randrange(n_sure)]
            return view if view.best is not None and view.best.value < least_fit else None

        return good, poor


def _points(view: DesignView) -> float:
    return float(view.confidence)


def _nobody() -> None:
    return None
