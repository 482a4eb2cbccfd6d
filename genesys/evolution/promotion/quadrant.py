"""The paper's promotion: good designs that are not yet trusted first, poor ones now and then."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from random import Random

from genesys.evolution.design import DesignView
from genesys.evolution.population import Population
from genesys.evolution.promotion.base import Promotion


@dataclass(frozen=True, slots=True, kw_only=True)
class QuadrantPromotion:
    """Exploit (good, unconfident) with probability .8, explore (poor or unrated, unconfident) otherwise.

    Good and confident are the best quarter by fitness and by confidence points. A design is verified at its lowest
    unverified scale, if that is open; a quadrant without candidates leaves its turn to the other, and when all
    candidates are confident the fittest goes. Within a quadrant the draw leans to the better.

    Attributes:
        good_share, confident_share: Where the axes are cut.
        exploit: Probability of the first quadrant.
        n_examined: How many of those waiting at each scale are looked at.

    Source: Cheng et al. 2025 (arXiv 2506.20249); shares and probabilities as in the published implementation.
    """

    good_share: float = 0.25
    confident_share: float = 0.25
    exploit: float = 0.8
    n_examined: int = 24

    def promote(self, population: Population, openings: Mapping[str, int], *, rng: Random) -> Promotion | None:
        found = [
            (view, s)
            for s in population.scales
            if openings.get(s, 0) > 0
            for view in self._examined(population, s, rng)
        ]
        if not found:
            return None
        open_ones = [(v, s) for v, s in found if not self._is_confident(population, v)]
        good = [(v, s) for v, s in open_ones if self._is_good(population, v)]
        known = {view.id for view, _ in good}
        poor = [(v, s) for v, s in open_ones if v.id not in known]
        exploiting = rng.random() < self.exploit
        for name, pool in (
            (("exploit", good), ("explore", poor)) if exploiting else (("explore", poor), ("exploit", good))
        ):
            if pool:
                view, scale = pool[lean(rng, len(pool))]
                return Promotion(design=view.id, scale=scale, reason=f"{name}: {len(pool)} candidates")
        view, scale = min(found, key=lambda item: (_share(population, item[0]), item[0].order))
        return Promotion(design=view.id, scale=scale, reason="all candidates are confident: the fittest")

    def standing(self, population: Population, view: DesignView, scale: str) -> str:
        kind = "good" if self._is_good(population, view) else "poor or unrated"
        trust = "confident, so others go first" if self._is_confident(population, view) else "not yet confident"
        return f"{kind} and {trust}; the good ones that are not yet trusted go first with probability {self.exploit:g}"

    def _examined(self, population: Population, scale: str, rng: Random) -> Sequence[DesignView]:
        """The head of the queue, and a sample of what stands behind it."""
        waiting = population.unverified(scale)
        head = min(len(waiting), self.n_examined // 2)
        behind = rng.sample(range(head, len(waiting)), min(len(waiting) - head, self.n_examined - head))
        return [waiting[i] for i in (*range(head), *sorted(behind))]

    def _is_good(self, population: Population, view: DesignView) -> bool:
        share = population.rating_share(view.id)
        return share is not None and share < self.good_share

    def _is_confident(self, population: Population, view: DesignView) -> bool:
        share = population.confidence_share(view.id)
        return view.rung >= 0 and share is not None and share < self.confident_share


def lean(rng: Random, n: int) -> int:
    """An index below n, the first ones likelier: linear weights n, n-1, ..., 1."""
    return min(rng.randrange(n), rng.randrange(n))


def _share(population: Population, view: DesignView) -> float:
    share = population.rating_share(view.id)
    return 2.0 if share is None else share
