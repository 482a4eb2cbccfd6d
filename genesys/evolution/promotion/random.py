"""Promotion by lot: the baseline."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from random import Random

from genesys.evolution.design import DesignView
from genesys.evolution.population import Population
from genesys.evolution.promotion.base import Promotion


@dataclass(frozen=True, slots=True)
class RandomPromotion:
    """Any open scale, any design that waits there, all alike in chance."""

    def promote(self, population: Population, openings: Mapping[str, int], *, rng: Random) -> Promotion | None:
        scales = [s for s in population.scales if openings.get(s, 0) > 0 and len(population.unverified(s))]
        if not scales:
            return None
        scale = rng.choice(scales)
        waiting = population.unverified(scale)
        return Promotion(design=waiting[rng.randrange(len(waiting))].id, scale=scale, reason="by lot")

    def standing(self, population: Population, view: DesignView, scale: str) -> str:
        return f"one of {len(population.unverified(scale))} alike in chance"
