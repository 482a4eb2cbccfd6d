"""Asynchronous successive halving: the best share of a rung climbs, as soon as it shows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from random import Random

from genesys.evolution.design import DesignView
from genesys.evolution.population import Population
from genesys.evolution.promotion.base import Promotion


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
        scales = population.scales
        for k in reversed(range(1, len(scales))):
            if openings.get(scales[k], 0) > 0 and (found := self._climber(population, k)) is not None:
                return found
        waiting = population.unverified(scales[0])
        if openings.get(scales[0], 0) < 1 or not waiting:
            return None
        return Promotion(design=waiting[0].id, scale=scales[0], reason="next in line on the first rung")

    def _climber(self, population: Population, k: int) -> Promotion | None:
        below, scale = population.scales[k - 1], population.scales[k]
        if population.account(scale).left <= 1 and population.account(below).reserved:
            return None
        for view in population.unverified(scale)[: self.n_examined]:
            standing = self._qualifies(population, view, k)
            if standing:
                return Promotion(design=view.id, scale=scale, reason=f"{standing} at {below}")
        return None

    def _qualifies(self, population: Population, view: DesignView, k: int) -> str:
        below, scale = population.scales[k - 1], population.scales[k]
        share = population.account(scale).quota / max(1, population.account(below).quota)
        for niche in (None, view.niche):
            found = population.rank_at(below, view.id, niche=niche)
            if found is not None and found[0] < max(1, int(share * found[1])):
                return f"place {found[0] + 1} of {found[1]}" + (f" in niche {niche!r}" if niche else "")
        return ""
