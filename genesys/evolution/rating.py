"""How measurements become one comparable number: the protocol for it, and what all domains share.

A rule rates a design at one scale against that scale's reference design. `frame_of` then puts the scales on one axis:
the reference is 0 and the unit is the spread of the seeds there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import stdev
from typing import NamedTuple, Protocol

Metrics = Mapping[str, float]

MIN_SEEDS = 3
Z_95 = 1.959964
MIN_SPREAD = 1e-9


class Rating(NamedTuple):
    """A design at one scale, in the rule's own units; `half_width` spans the 95% interval, one side.

    `anchored` is False when there was no usable reference to compare with.
    """

    raw: float
    half_width: float = 0.0
    anchored: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Fitness:
    """The one number compared, with its 95% interval; `raw` is the same before standardisation."""

    value: float
    low: float
    high: float
    raw: float
    anchored: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """One scale's axis: `value = (raw - centre) / spread`."""

    centre: float = 0.0
    spread: float = 1.0

    def value(self, raw: float) -> float:
        return (raw - self.centre) / self.spread

    def place(self, rating: Rating) -> Fitness:
        value, half = self.value(rating.raw), rating.half_width / self.spread
        return Fitness(value=value, low=value - half, high=value + half, raw=rating.raw, anchored=rating.anchored)


Rater = Callable[[Sequence[Metrics]], Rating]
"""Rates a design by all its runs at one scale, at least one."""


class FitnessRule(Protocol):
    """Turns raw metrics into ratings; the only part of an evolution's core that knows its domain. Pure.

    Attributes:
        name: For records.
        needs_reference: Whether designs stay unrated while the reference may still be measured at their scale.
        standardised: Whether values are put on one axis across scales; else `value == raw`.
        protected_niches: Niches of which one design other than the reference survives every rung.
    """

    @property
    def name(self) -> str: ...
    @property
    def needs_reference(self) -> bool: ...
    @property
    def standardised(self) -> bool: ...
    @property
    def protected_niches(self) -> tuple[str, ...]: ...

    def check(self, metrics: Metrics) -> None:
        """Raise ValueError, naming the metric, when these cannot be rated."""
        ...

    def rater(self, reference: Sequence[Metrics] | None) -> Rater:
        """What rates designs at one scale against the reference's runs there; what follows from those is worked out once."""
        ...

    def niche(self, metrics: Metrics) -> str:
        """What kind of design measures like this; "" when the metrics do not tell."""
        ...


def frame_of(reference: Rating | None, seeds: Sequence[Rating], below: Frame | None) -> Frame:
    """The axis of one scale.

    Args:
        reference: The reference's rating there; without one the raw zero stays the centre.
        seeds: Ratings of the seeds verified there. With fewer than 3, or all equal, the spread of the nearest lower
            scale serves, and 1 where there is none.
        below: The axis of the scale below.
    """
    spread = stdev(r.raw for r in seeds) if len(seeds) >= MIN_SEEDS else 0.0
    if spread < MIN_SPREAD:
        spread = below.spread if below is not None else 1.0
    return Frame(centre=reference.raw if reference is not None else 0.0, spread=spread)
