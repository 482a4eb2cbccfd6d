"""The caps on money in whole nano-dollars, and what is said when one has no room."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from typing import Literal

from genesys.errors import ConfigError
from genesys.llm.calls import NANO_PER_USD, Call, Denied
from genesys.llm.settings import MoneyCaps

Cap = Literal["call", "session", "role", "day", "run"]

MOST_NANO = 1_000_000_000 * NANO_PER_USD  # more than anybody spends, and sums of it stay whole numbers


class Caps:
    """What a run's agents may spend.

    Raises:
        ConfigError: A cap is no amount of money.
    """

    def __init__(self, caps: MoneyCaps) -> None:
        given: dict[Cap, float | None] = {"call": caps.call, "session": caps.session, "day": caps.day, "run": caps.run}
        self._all = {cap: _nano(cap, usd) for cap, usd in given.items() if usd is not None}
        self._roles = {role: _nano(f"roles.{role}", usd) for role, usd in caps.roles.items()}

    def of(self, call: Call) -> Iterator[tuple[Cap, str, int]]:
        """The caps that a call is held against, each with the name of what it limits, and the limit."""
        names = {"session": call.session}
        for cap, limit in self._all.items():
            yield cap, names.get(cap, ""), limit
        if call.role in self._roles:
            yield "role", call.role, self._roles[call.role]


def denied(call: Call, cap: Cap, limit: int, left: int) -> Denied:
    """A cap leaves less room than a call needs."""
    return Denied(
        cap=cap,
        reason=f"Cannot ask {call.model!r} as {call.role}: it may cost {usd_text(call.max_nano)}; expected at most the "
        f"{usd_text(max(0, left))} left of {usd_text(limit)}. "
        f"Raise agents.caps.{f'roles.{call.role}' if cap == 'role' else cap}.",
    )


def usd_text(nano: int) -> str:
    return f"{Decimal(nano) / NANO_PER_USD:.6f} USD"


def _nano(cap: str, usd: float) -> int:
    if not 0 <= usd <= MOST_NANO / NANO_PER_USD:  # false for NaN
        raise ConfigError(f"Cannot hold agents.caps.{cap} = {usd}: expected USD from 0 to {MOST_NANO // NANO_PER_USD}.")
    return int(Decimal(str(usd)) * NANO_PER_USD)
