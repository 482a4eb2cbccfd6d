"""Caps on what a run may use in all: runs, tokens, GPU time and money. Set aside with a lease, booked when it ends.

Pure bookkeeping; it knows neither designs nor scales.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from math import inf, isfinite
from typing import Any, NamedTuple, Self

from genesys.ladder.ledger import BookkeepingError

_US = 1_000_000


class Cost(NamedTuple):
    """What runs use. GPU time is counted in whole microseconds, so that sums are exact in whatever order they are made."""

    runs: int = 0
    n_tokens: int = 0
    gpu_us: int = 0

    @classmethod
    def of(cls, n_tokens: int = 0, gpu_seconds: float = 0.0, *, runs: int = 1) -> Self:
        """The cost of a run, or of as many as are said.

        Raises:
            BookkeepingError: A number below 0, or not finite.
        """
        if runs < 0 or n_tokens < 0 or not 0 <= gpu_seconds < inf:
            raise BookkeepingError(
                f"Cannot book {runs} runs, {n_tokens} tokens and {gpu_seconds} GPU-seconds: expected finite numbers "
                "from 0 up."
            )
        return cls(runs, n_tokens, round(gpu_seconds * _US))

    @property
    def gpu_seconds(self) -> float:
        return self.gpu_us / _US

    def plus(self, other: Cost) -> Cost:
        return Cost(self.runs + other.runs, self.n_tokens + other.n_tokens, self.gpu_us + other.gpu_us)

    def minus(self, other: Cost) -> Cost:
        return Cost(self.runs - other.runs, self.n_tokens - other.n_tokens, self.gpu_us - other.gpu_us)


@dataclass(frozen=True, slots=True, kw_only=True)
class Caps:
    """The most that a run may use; None for no cap.

    Attributes:
        runs: Verifications, replicates included. A refunded one gives its place back, not what it used.
        usd: GPU time at `usd_per_gpu_hour`.
    """

    runs: int | None = None
    tokens: int | None = None
    gpu_seconds: float | None = None
    usd: float | None = None
    usd_per_gpu_hour: float = 0.0

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """Read caps as a journal has them.

        Raises:
            BookkeepingError: An unknown name, or something else than a number from 0 up.
        """
        names = tuple(field.name for field in fields(cls))
        for name, value in data.items():
            if name not in names:
                raise BookkeepingError(f"Cannot set cap {name!r}: expected one of {', '.join(names)}.")
            is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
            if not (value is None and name != "usd_per_gpu_hour") and not (
                is_number and isfinite(value) and value >= 0
            ):
                raise BookkeepingError(f"Cannot set cap {name!r} to {value!r}: expected a number from 0 up.")
        return cls(**data)

    def to_json(self) -> dict[str, float]:
        """What `from_json` reads; caps that are not set are left out."""
        found = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: value for name, value in found.items() if value is not None}

    def usd_of(self, cost: Cost) -> float:
        return _usd(cost.gpu_us, self.usd_per_gpu_hour)


def _usd(gpu_us: int, usd_per_gpu_hour: float) -> float:
    return gpu_us / _US / 3600 * usd_per_gpu_hour


class Budget:
    """What was used and what is set aside, against the caps.

    Guarantees: whenever something is set aside, `spent + reserved` is within every cap. What a run claims to have used is
    booked as it is, even above what was set aside for it: then, or when caps are lowered, `spent` may pass a cap, and nothing
    more is granted. What is set aside is an upper bound as far as the run's deadline is kept. Not safe for threads.
    """

    def __init__(self, caps: Caps | None = None, spent: Cost | None = None) -> None:
        self.caps = caps or Caps()
        self.spent = spent or Cost()
        self.reserved = Cost()

    def reserve(self, cost: Cost) -> None:
        """Set a run's cost aside.

        Raises:
            BookkeepingError: A cap leaves no room for it; nothing was changed.
        """
        problem = self.shortage(cost)
        if problem:
            raise BookkeepingError(
                f"Cannot set a run aside: {problem} leaves no room for it. Wait for a refund or raise the cap."
            )
        self.reserved = self.reserved.plus(cost)

    def settle(self, reserved: Cost, used: Cost) -> None:
        """Release what was set aside for a run, and book what it used."""
        self.reserved = self.reserved.minus(reserved)
        self.spent = self.spent.plus(used)

    @property
    def usd(self) -> float:
        """Money spent."""
        return self.caps.usd_of(self.spent)

    @property
    def usd_reserved(self) -> float:
        return self.caps.usd_of(self.reserved)

    def room(self, cost: Cost) -> bool:
        """Whether a run of that cost may be granted now."""
        return not self.shortage(cost)

    def shortage(self, cost: Cost) -> str:
        """The cap that leaves no room for a run of that cost, such as "the cap of 2 GPU-hours"; "" when all do."""
        caps, spent, reserved = self.caps, self.spent, self.reserved
        if caps.runs is not None and spent.runs + reserved.runs + cost.runs > caps.runs:
            return f"the cap of {caps.runs:,} run{'s' * (caps.runs != 1)}"
        if caps.tokens is not None and spent.n_tokens + reserved.n_tokens + cost.n_tokens > caps.tokens:
            return f"the cap of {caps.tokens:,} tokens"
        gpu_us = spent.gpu_us + reserved.gpu_us + cost.gpu_us
        if caps.gpu_seconds is not None and gpu_us > caps.gpu_seconds * _US:
            return f"the cap of {caps.gpu_seconds / 3600:,.4g} GPU-hours"
        if caps.usd is not None and _usd(gpu_us, caps.usd_per_gpu_hour) > caps.usd:
            return f"the cap of {caps.usd:,.2f} USD"
        return ""
