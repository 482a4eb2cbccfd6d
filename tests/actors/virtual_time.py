"""An event loop whose clock jumps to the next thing that happens, and whose other threads are played."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Callable
from typing import Any


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """Waits for nothing: an hour of sleeping passes at once. What would run in a thread runs in `executor`.

    Raises:
        RuntimeError: From the run, when nothing can ever happen again.
    """

    def __init__(self) -> None:
        self.now = 0.0
        self.executor: Callable[[Callable[[], Any]], asyncio.Future[Any]] = self._at_once
        super().__init__(_Skipping(self))

    def time(self) -> float:
        return self.now

    def run_in_executor(self, executor: Any, func: Callable[..., Any], *args: Any) -> asyncio.Future[Any]:
        return self.executor(lambda: func(*args))

    def _at_once(self, work: Callable[[], Any]) -> asyncio.Future[Any]:
        return settled(self.create_future(), work)


class _Skipping(selectors.SelectSelector):
    """Sees no file become ready; where the loop would wait, its clock moves on."""

    def __init__(self, loop: VirtualTimeLoop) -> None:
        super().__init__()
        self._loop = loop

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:
            raise RuntimeError(f"nothing can happen any more, {self._loop.now:.0f} s after the start")
        self._loop.now += max(0.0, timeout)
        return []


def settled(future: asyncio.Future[Any], work: Callable[[], Any]) -> asyncio.Future[Any]:
    """Do the work now, into the future."""
    try:
        future.set_result(work())
    except Exception as error:  # the awaiter's to handle
        future.set_exception(error)
    return future
