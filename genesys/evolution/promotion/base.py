"""What a promotion strategy is: it says which design to verify at which scale next."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from random import Random
from typing import Protocol

from genesys.evolution.population import Population


@dataclass(frozen=True, slots=True, kw_only=True)
class Promotion:
    """One design for one scale; the reason is journaled."""

    design: str
    scale: str
    reason: str


class PromotionStrategy(Protocol):
    """Chooses among `population.unverified(scale)` of the open scales. Called once per free verifier."""

    def promote(self, population: Population, openings: Mapping[str, int], *, rng: Random) -> Promotion | None:
        """Choose, or wait for more results.

        Args:
            population: Valid for this call only.
            openings: Leases free now, for each scale where there are any and somebody waits.
            rng: The only source of chance.

        Returns:
            None to wait. It is asked again after the next event; when nothing runs and nothing else can come, the best
            design waiting at the highest open scale goes without it.
        """
        ...


def highest_open(population: Population, openings: Mapping[str, int]) -> str | None:
    """The highest scale with an opening and somebody waiting."""
    return next(
        (s for s in reversed(population.scales) if openings.get(s, 0) > 0 and len(population.unverified(s))), None
    )
