"""Asynchronous successive halving: the best share of a rung climbs, as soon as it shows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import inf
from random import Random

from genesys.evolution.design import DesignView
from genesys.evolution.population import Population
from genesys.evolution.promotion.base import Promotion, highest_climber


@dataclass(frozen=True, slots=True, kw_only=True)
class SuccessiveHalving:
    """Promotes from the highest rung downwards; new designs take what is left.

    A design climbs when it stands in the best share of what its rung has finished, overall or in its niche; the share
    is the ratio of the two quotas, and at least one design of each niche qualifies. The last opening of a quota is
    not given away while anything still runs on the rung below. Reads the heads of sorted orders only.

    Attributes:
        n_examined: How many of those waiting, best first, are looked at for each scale.

    Source: Li et al. 2020, "A System for Massively Parallel Hyperparameter Tuning" (ASHA), by niche.
    """

    n_examined: int = 16

    def promote(self, population: Population, openings: Mapping[str, int], *, rng: Random) -> Promotion | None:
        return highest_climber(population, openings, lambda k: self._climber(population, k))

    def _climber(self, population: Population, k: int) -> Promotion | None:
        below, scale = population.scales[k - 1], population.scales[k]
        for view in population.unverified(scale)[: self.n_examined]:
            standing = self._qualifies(population, view, k)
            if standing:
                return Promotion(design=view.id, scale=scale, reason=f"{standing} at {below}")
        return None

    def _qualifies(self, population: Population, view: DesignView, k: int) -> str:
        for niche in (None, view.niche):
            place, n, n_climbing = self._place(population, view, k, niche)
            if place <= n_climbing:
                return f"place {place} of {n}" + (f" in niche {niche!r}" if niche else "")
        return ""

    def _place(self, population: Population, view: DesignView, k: int, niche: str | None) -> tuple[float, int, int]:
        """A design's place from 1, of how many, and how many of them climb; infinity when it is not rated."""
        below, scale = population.scales[k - 1], population.scales[k]
        found = population.rank_at(below, view.id, niche=niche)
        if found is None:
            return inf, 0, 0
        share = population.account(scale).quota / max(1, population.account(below).quota)
        return found[0] + 1, found[1], max(1, int(share * found[1]))

    def standing(self, population: Population, view: DesignView, scale: str) -> str:
        k = population.scales.index(scale)
        said = []
        for niche in dict.fromkeys((None, view.niche or None)):
            place, n, n_climbing = self._place(population, view, k, niche)
            if n:
                where = f"in niche {niche!r}" if niche else f"at {population.scales[k - 1]}"
                said.append(f"place {place} of {n} {where}, of which the best {n_climbing} may climb now")
        return "; ".join(said) or f"not yet rated at {population.scales[k - 1]}"
