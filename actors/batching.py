"""Many small calls in one message: what a call costs in Ray outweighs the work of most of ours.

Calls that are made while a message to the same actor is under way wait and go out together with the next one, so
that nothing is delayed when little is going on, and the cost per call falls when much is.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

Call = tuple[str, tuple[Any, ...]]
Answer = tuple[bool, Any]
"""Whether a call succeeded, and its value or its exception."""

MAX_CALLS = 64
MAX_UNDER_WAY = 1  # with two, Ray may start the second first; grants must arrive in their order


class Batched:
    """An actor that takes several calls in one message and serves them at the same time."""

    async def ping(self) -> None:
        """Answer at once: the process runs, and nothing holds its event loop."""

    async def many(self, calls: tuple[Call, ...]) -> list[Answer]:
        """The answers to some calls, in their order."""
        return await asyncio.gather(*(self._answer(*call) for call in calls))

    async def _answer(self, method: str, arguments: tuple[Any, ...]) -> Answer:
        try:
            return True, await getattr(self, method)(*arguments)
        except Exception as error:  # the caller's to handle: it is raised again there
            return False, error


class Coalescer:
    """Sends calls through `send_many`, together where they would wait anyway. Belongs to one event loop."""

    def __init__(self, send_many: Callable[[tuple[Call, ...]], Awaitable[list[Answer]]]) -> None:
        self._send_many = send_many
        self._waiting: list[tuple[Call, asyncio.Future[Any]]] = []
        self._under_way: set[asyncio.Task[None]] = set()

    async def call(self, method: str, arguments: tuple[Any, ...]) -> Any:
        """Make one call; raises what the method raised, or what kept the message from arriving."""
        answered: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._waiting.append(((method, arguments), answered))
        asyncio.get_running_loop().call_soon(self._send)  # after this turn of the loop: its other calls come along
        return await answered

    def _send(self) -> None:
        if self._waiting and len(self._under_way) < MAX_UNDER_WAY:
            batch, self._waiting = self._waiting[:MAX_CALLS], self._waiting[MAX_CALLS:]
            task = asyncio.create_task(self._deliver(batch))
            self._under_way.add(task)
            task.add_done_callback(self._under_way.discard)
            task.add_done_callback(lambda _: self._send())

    async def _deliver(self, batch: list[tuple[Call, asyncio.Future[Any]]]) -> None:
        try:
            answers = await self._send_many(tuple(call for call, _ in batch))
        except Exception as error:  # the message was lost: each of its calls was
            answers = [(False, error)] * len(batch)
        for (_, answered), (succeeded, value) in zip(batch, answers, strict=True):
            if answered.done():
                continue  # its caller gave up
            if succeeded:
                answered.set_result(value)
            else:
                answered.set_exception(value)
