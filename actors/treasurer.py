"""Keeps the books of calls to language models: the one writer of a run's `calls.sqlite`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import ray

from actors.batching import Batched
from genesys.llm.book import CallBook
from genesys.llm.calls import Call, CallEnd, Denied, Granted, Known, KnownFailure, Remembered, Usage
from genesys.llm.limits import paces
from genesys.llm.local_treasury import LocalTreasury
from genesys.llm.settings import AgentsConfig
from genesys.llm.spending import Totals


@dataclass(frozen=True, slots=True, kw_only=True)
class TreasurerSettings:
    """What the keeper of the money is told at construction.

    Attributes:
        path: The file of calls, on a local disk.
        prices: By model, as plain data; those that the file holds already stay.
    """

    path: Path
    agents: AgentsConfig
    prices: Mapping[str, Any] = field(default_factory=dict)


class Treasurer(Batched):
    """A `Treasury` behind an actor's mailbox.

    Guarantees: what it answered is on the disk. After a restart it fences its former self; calls that were in flight are
    lost until their askers, who live on, book their ends.
    """

    def __init__(self, settings: TreasurerSettings) -> None:
        book = CallBook(settings.path, settings.agents.caps, settings.prices)
        self._treasury = LocalTreasury(book, paces(settings.agents.models))

    def __repr__(self) -> str:
        return "Treasurer"

    async def reserve(self, call: Call) -> Granted | Known | KnownFailure | Denied:
        return await self._treasury.reserve(call)

    async def commit(self, token: int, response: Mapping[str, Any], usage: Usage, cost_nano: int) -> None:
        await self._treasury.commit(token, response, usage, cost_nano)

    async def fail(self, token: int, cause: CallEnd, reason: str, retry_after_s: float = 0.0) -> None:
        await self._treasury.fail(token, cause, reason, retry_after_s)

    async def memory(self, session: str) -> tuple[Remembered, ...]:
        return await self._treasury.memory(session)

    async def remember(self, session: str, remembered: Remembered) -> None:
        await self._treasury.remember(session, remembered)

    async def spent(self, session: str) -> int:
        return await self._treasury.spent(session)

    async def totals(self) -> Totals:
        """What was spent by now."""
        return await self._treasury.totals()

    async def prices(self) -> dict[str, Any]:
        """What models cost in this run."""
        return await self._treasury.prices()


TreasurerActor = ray.remote(Treasurer)
