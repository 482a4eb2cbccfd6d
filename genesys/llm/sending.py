"""One call from its reservation to its booking, each exactly once, whatever the endpoint or a cancellation does."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from dataclasses import dataclass
from random import uniform
from typing import Any

from genesys.llm.calls import Call, CallFailure, Denied, Granted, Known, KnownFailure, Treasury, Usage
from genesys.llm.client import CallFailed
from genesys.llm.prices import Price

log = logging.getLogger(__name__)

Sleep = Callable[[float], Awaitable[None]]
Send = Callable[[], Awaitable[tuple[Mapping[str, Any], Usage | None]]]

_BACKOFF_S, _LONGEST_BACKOFF_S = 1.0, 60.0
_LONGEST_WAIT_S = 300.0
"""For an endpoint that asks for patience, and for money that other calls hold: neither must stop a run for a day."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """An answer as plain data, and what it cost."""

    response: Mapping[str, Any]
    usage: Usage
    cost_nano: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Failed:
    """No answer.

    Attributes:
        cost_nano: What stays booked.
        is_known: Whether it failed before, and is only told again.
    """

    cause: CallFailure
    reason: str
    cost_nano: int = 0
    retry_after_s: float = 0.0
    is_known: bool = False

    def wait_s(self, n_failed: int) -> float:
        """How long to wait before the next try, after `n_failed` of them: what the endpoint asks, else twice as long each time."""
        if self.is_known or self.cause == "bad-request":
            return 0.0
        if self.retry_after_s:
            return self.retry_after_s + uniform(0.0, _BACKOFF_S)
        return min(_BACKOFF_S * 2.0 ** (n_failed - 1), _LONGEST_BACKOFF_S) * uniform(0.5, 1.5)


class Sender:
    """Performs calls. One that is cancelled on its way stays booked in full, before it is sent it is free."""

    def __init__(self, treasury: Treasury, sleep: Sleep = asyncio.sleep) -> None:
        self._treasury = treasury
        self._sleep = sleep
        self._bookings: set[asyncio.Task[Any]] = set()

    async def pause(self, seconds: float) -> None:
        if seconds > 0:
            await self._sleep(seconds)

    async def perform(self, call: Call, price: Price, send: Send) -> Done | Failed | Denied:
        """Reserve, send, and book what it cost; or tell what came of the call before."""
        granted = await self._granted(call)
        match granted:
            case Known():
                return Done(response=granted.response, usage=granted.usage, cost_nano=granted.cost_nano)
            case KnownFailure():
                return _failed(call, granted.cause, granted.reason, is_known=True)
            case Denied():
                return granted
        sent = False
        try:
            await self.pause(granted.delay_s)
            sent = True
            response, said = await send()
        except CallFailed as failure:
            retry_after_s = min(failure.retry_after_s, _LONGEST_WAIT_S)
            await self._book(self._treasury.fail(granted.token, failure.cause, failure.reason, retry_after_s))
            return _failed(call, failure.cause, failure.reason, retry_after_s=retry_after_s)
        except asyncio.CancelledError:
            await self._book(
                self._treasury.fail(granted.token, "cancelled" if sent else "unavailable", "was cancelled")
            )
            raise
        except BaseException as error:
            await self._book(self._treasury.fail(granted.token, "timeout", type(error).__name__))
            raise
        usage = _plausible(call, said)
        cost_nano = call.max_nano if usage is None else price.cost(usage)
        usage = usage or Usage(n_input=call.n_input_bound, n_output=call.n_output_bound)
        await self._book(self._treasury.commit(granted.token, response, usage, cost_nano))
        return Done(response=response, usage=usage, cost_nano=cost_nano)

    async def _granted(self, call: Call) -> Granted | Known | KnownFailure | Denied:
        """What the treasury says, once no other call on its way stands in between."""
        waited_s = 0.0
        while True:
            granted = await self._reserve(call)
            if not (isinstance(granted, Denied) and granted.may_pass and waited_s < _LONGEST_WAIT_S):
                return granted
            pause_s = min(_BACKOFF_S + waited_s / 4, _LONGEST_BACKOFF_S) * uniform(0.5, 1.5)
            waited_s += pause_s
            await self.pause(pause_s)

    async def _reserve(self, call: Call) -> Granted | Known | KnownFailure | Denied:
        reserving = self._task(self._treasury.reserve(call))
        try:
            return await asyncio.shield(reserving)
        except asyncio.CancelledError:
            self._task(self._give_back(reserving))
            raise

    async def _give_back(self, reserving: asyncio.Task[Any]) -> None:
        granted = await reserving
        if isinstance(granted, Granted):
            await self._treasury.fail(granted.token, "unavailable", "was cancelled before it was sent")

    async def _book(self, booking: Coroutine[Any, Any, None]) -> None:
        """See a booking through, even when whoever waits for it is cancelled."""
        await asyncio.shield(self._task(booking))

    def _task(self, coroutine: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        task = asyncio.ensure_future(coroutine)
        self._bookings.add(task)
        task.add_done_callback(self._bookings.discard)
        return task


def _failed(call: Call, cause: CallFailure, reason: str, retry_after_s: float = 0.0, is_known: bool = False) -> Failed:
    cost_nano = call.max_nano if cause == "timeout" else 0
    return Failed(cause=cause, reason=reason, cost_nano=cost_nano, retry_after_s=retry_after_s, is_known=is_known)


def _plausible(call: Call, usage: Usage | None) -> Usage | None:
    """What the provider says it charged, unless it says nothing or what cannot be."""
    if usage is None:
        return None
    within = 0 < usage.n_input <= call.n_input_bound and 0 <= usage.n_output <= call.n_output_bound
    cached = min(usage.n_cached, usage.n_written) >= 0 and usage.n_cached + usage.n_written <= usage.n_input
    if within and cached:
        return usage
    log.warning("%s says %s; booked in full, since at most %d and %d were possible",
                call.model, usage, call.n_input_bound, call.n_output_bound)  # fmt: skip
    return None
