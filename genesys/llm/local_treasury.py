"""A treasury within one process."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, cast

from genesys.errors import GenesysError, TransientError
from genesys.llm.book import CallBook
from genesys.llm.calls import Call, CallEnd, Denied, Granted, Known, KnownFailure, Remembered, Usage
from genesys.llm.limits import Pace
from genesys.llm.spending import Totals


class LocalTreasury:
    """A `Treasury` over a book that is its own, within one event loop.

    Guarantees: entries that are made while the disk is busy go out together with one write; they are made in the order
    in which they came. An asker that is cancelled leaves its call reserved, until somebody asks it again. A disk that is
    full is a TransientError, and nothing was entered.

    Args:
        paces: Rate limits by model; those not named have none. What was in flight before this treasury began is not known to them.
    """

    def __init__(self, book: CallBook, paces: Mapping[str, Pace] | None = None) -> None:
        self.book = book
        self._paces = dict(paces or {})
        self._in_flight: dict[int, tuple[Pace, int]] = {}  # by token: what it took of its model's tokens
        self._waiting: list[tuple[Callable[[], Any], asyncio.Future[Any]]] = []
        self._writing: asyncio.Task[None] | None = None

    async def reserve(self, call: Call) -> Granted | Known | KnownFailure | Denied:
        answer = await self._entered(partial(self.book.reserve, call))
        if not isinstance(answer, Granted):
            return cast(Known | KnownFailure | Denied, answer)
        pace, n_tokens = self._paces.setdefault(call.model, Pace()), call.n_input_bound + call.n_output_bound
        self._in_flight[answer.token] = pace, n_tokens
        return Granted(token=answer.token, delay_s=pace.reserve(n_tokens))

    async def commit(self, token: int, response: Mapping[str, Any], usage: Usage, cost_nano: int) -> None:
        pace, n_tokens = self._in_flight.pop(token, (Pace(), 0))
        pace.give_back(n_tokens - usage.n_input - usage.n_output)
        await self._entered(partial(self.book.commit, token, response, usage, cost_nano))

    async def fail(self, token: int, cause: CallEnd, reason: str, retry_after_s: float = 0.0) -> None:
        pace, n_tokens = self._in_flight.pop(token, (Pace(), 0))
        pace.give_back(0 if cause in ("timeout", "cancelled") else n_tokens)
        pace.hold(retry_after_s)
        await self._entered(partial(self.book.fail, token, cause, reason))

    async def memory(self, session: str) -> tuple[Remembered, ...]:
        return cast(tuple[Remembered, ...], await self._entered(partial(self.book.memory, session)))

    async def remember(self, session: str, remembered: Remembered) -> None:
        await self._entered(partial(self.book.remember, session, remembered))

    async def spent(self, session: str) -> int:
        return cast(int, await self._entered(partial(self.book.spent, session)))

    async def totals(self) -> Totals:
        """What was spent by now."""
        return cast(Totals, await self._entered(self.book.totals))

    async def prices(self) -> dict[str, Any]:
        """What models cost in this run."""
        return cast(dict[str, Any], await self._entered(lambda: self.book.prices))

    async def _entered(self, entry: Callable[[], Any]) -> Any:
        done: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._waiting.append((entry, done))
        if self._writing is None or self._writing.done():
            self._writing = asyncio.create_task(self._write())  # after this turn of the loop: its others come along
        return await done

    async def _write(self) -> None:
        while self._waiting:
            batch, self._waiting = self._waiting, []
            try:
                answers = await asyncio.to_thread(self._make, [entry for entry, _ in batch])
            except Exception as error:  # fenced, or the disk is full: none was made
                ours = isinstance(error, GenesysError)
                answers = [(False, error if ours else TransientError(f"calls were not booked: {error}"))] * len(batch)
            for (_, done), (succeeded, value) in zip(batch, answers, strict=True):
                if done.done():
                    continue  # its asker gave up
                if succeeded:
                    done.set_result(value)
                else:
                    done.set_exception(value)

    def _make(self, entries: list[Callable[[], Any]]) -> list[tuple[bool, Any]]:
        """Make some entries in one transaction; an entry that is refused leaves the others standing."""
        answers: list[tuple[bool, Any]] = []
        with self.book.together():
            for entry in entries:
                try:
                    answers.append((True, entry()))
                except sqlite3.Error:
                    raise
                except Exception as error:  # its asker's to handle
                    answers.append((False, error))
        return answers
