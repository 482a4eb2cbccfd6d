"""Messages between simulated processes: late, lost, twice, or not at all while somebody is cut off."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any

from genesys.errors import TransientError
from genesys.testing.simulation.clock import Clock, Process

CALL_TIMEOUT_S = 120.0
RETRY_S = 60.0
RETRY_EVERY_S = 0.25


class Network:
    """Calls of other processes' methods, as `actors.handles` makes them.

    Attributes:
        n_to_lose: So many of the next answers are lost: their callers hear that the call failed, though it did not.
        n_to_double: So many of the next requests arrive a second time, some time later. A driver's own word, that the run
            is taken up or is to stop, does not: it would be taken for a new one.
    """

    def __init__(self, clock: Clock, rng: Random, latency_s: float) -> None:
        self._clock, self._rng, self._latency_s = clock, rng, latency_s
        self.n_to_lose = 0
        self.n_to_double = 0

    async def call(self, caller: Process, target: Process, method: str, *arguments: Any) -> Any:
        """Call once.

        Raises:
            TransientError: The target is gone, the answer is lost, or neither request nor answer came in time; it may have
                been done all the same.
            GenesysError: What the method raised.
        """
        held = self._held(caller, target)
        if self.n_to_double > 0 and not (caller.name.endswith("driver") and method in ("append", "start")):
            self.n_to_double -= 1
            self._clock.after(held + self._rng.expovariate(0.05), lambda: _deliver(target, method, arguments))
        if held > CALL_TIMEOUT_S:
            self._clock.after(held, lambda: _deliver(target, method, arguments))
            await caller.sleep(CALL_TIMEOUT_S)
            raise TransientError(f"{target.name} did not answer in time")
        await self._travel(held)
        answer = await _deliver(target, method, arguments)
        if self.n_to_lose > 0:
            self.n_to_lose -= 1
            raise TransientError(f"the answer of {target.name} was lost")
        await self._travel(self._held(caller, target))
        return answer

    async def ask(self, caller: Process, service: Callable[[], Process], method: str, *arguments: Any) -> Any:
        """Call a service, again and again for a minute while it is away; see `call`."""
        deadline = self._clock.now + RETRY_S
        while True:
            try:
                return await self.call(caller, service(), method, *arguments)
            except TransientError:
                if self._clock.now > deadline:
                    raise
                await caller.sleep(RETRY_EVERY_S)

    def _held(self, one: Process, other: Process) -> float:
        return max(0.0, max(one.cut_until, other.cut_until) - self._clock.now)

    async def _travel(self, held: float) -> None:
        await self._clock.sleep(held + self._rng.expovariate(1 / self._latency_s))


def _deliver(target: Process, method: str, arguments: tuple[Any, ...]) -> Any:
    return target.start(getattr(target.body, method)(*arguments))
