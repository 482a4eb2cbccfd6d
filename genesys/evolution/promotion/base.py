"""What a promotion strategy is: it says which design to verify at which scale next."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from random import Random
from typing import Literal, Protocol, runtime_checkable

from genesys.evolution.design import DesignView
from genesys.evolution.population import Population

Leftover = Literal["best", "unspent"]
"""What becomes of runs for which nobody is good enough, once nothing else can come: they go to the best that waits, or to
nobody."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Promotion:
    """One design for one scale; the reason is journaled."""

    design: str
    scale: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Decline:
    """Nobody who waits above the first rung is to go. If nothing better can come, the run ends with this reason and what is
    left of those quotas stays unspent; protected niches are served first. Before that it is a wait."""

    reason: str


class PromotionStrategy(Protocol):
    """Chooses among `population.unverified(scale)` of the open scales. Called once per free verifier."""

    def promote(
        self, population: Population, openings: Mapping[str, int], *, rng: Random
    ) -> Promotion | Decline | None:
        """Choose, or wait for more results.

        Args:
            population: Valid for this call only.
            openings: Leases free now, for each scale where there are any and somebody waits.
            rng: The only source of chance.

        Returns:
            None to wait. It is asked again after the next event; when nothing runs and nothing else can come, the best
            design waiting at the highest open scale goes without it, unless it declines.
        """
        ...


@runtime_checkable
class Explains(Protocol):
    """A promotion strategy that can say where a design stands; not required."""

    def standing(self, population: Population, view: DesignView, scale: str) -> str:
        """What the strategy holds against a design that waits at a scale above the first, or held when it did: a clause."""
        ...


def highest_open(population: Population, openings: Mapping[str, int]) -> str | None:
    """The highest scale with an opening and somebody waiting."""
    return next(
        (s for s in reversed(population.scales) if openings.get(s, 0) > 0 and len(population.unverified(s))), None
    )


def highest_climber(
    population: Population, openings: Mapping[str, int], climber: Callable[[int], Promotion | None]
) -> Promotion | None:
    """From the highest open rung downwards whoever `climber` finds for its index; new designs take what is left.

    The last run of a quota is not given away while anything still runs on the rung below.
    """
    scales = population.scales
    for k in reversed(range(1, len(scales))):
        is_early = population.account(scales[k]).left <= 1 and population.account(scales[k - 1]).reserved
        if openings.get(scales[k], 0) > 0 and not is_early and (found := climber(k)) is not None:
            return found
    if not scales or openings.get(scales[0], 0) < 1 or not (waiting := population.unverified(scales[0])):
        return None
    return Promotion(design=waiting[0].id, scale=scales[0], reason="next in line on the first rung")


def declined(openings: Mapping[str, int], leftover: Leftover, reason: str) -> Decline | None:
    """The answer when nobody is good enough."""
    return Decline(reason=reason) if leftover == "unspent" and openings else None


def check_leftover(leftover: str) -> None:
    """Raise ValueError unless it is one of `Leftover`."""
    if leftover not in ("best", "unspent"):
        raise ValueError(f"leftover is {leftover!r}; expected 'best' or 'unspent'")
