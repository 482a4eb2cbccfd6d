"""A treasury that keeps its books in memory, and a client that answers from a list."""

from __future__ import annotations

import asyncio
from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from genesys.llm.calls import Call, CallEnd, Denied, Granted, Known, KnownFailure, Remembered, Usage
from genesys.llm.client import CallFailed, Response, Vectors
from genesys.llm.schema import Schema
from genesys.llm.settings import ModelConfig
from genesys.roles.prompt import Message


@dataclass
class Books:
    """Every token must end once; what ended is known to whoever opens the same books again."""

    cap_nano: int | None = None
    delay_s: float = 0.0
    slow_s: float = 0.0
    calls: list[Call] = field(default_factory=list)
    ends: dict[int, tuple[str, int]] = field(default_factory=dict)
    known: dict[str, Known | KnownFailure] = field(default_factory=dict)
    held_s: list[float] = field(default_factory=list)

    async def reserve(self, call: Call) -> Granted | Known | KnownFailure | Denied:
        await asyncio.sleep(self.slow_s)
        if call.id in self.known:
            return self.known[call.id]
        if self.cap_nano is not None and self.booked_nano + call.max_nano > self.cap_nano:
            on_their_way = sum(self.calls[token].max_nano for token in self.open_tokens)
            room = self.cap_nano - self.booked_nano
            return Denied(cap="run", reason=f"{room} are left", may_pass=call.max_nano <= room + on_their_way)
        self.calls.append(call)
        return Granted(token=len(self.calls) - 1, delay_s=self.delay_s)

    async def commit(self, token: int, response: Mapping[str, Any], usage: Usage, cost_nano: int) -> None:
        await asyncio.sleep(self.slow_s)
        self._end(token, "committed", cost_nano)
        self.known[self.calls[token].id] = Known(response=response, usage=usage, cost_nano=cost_nano)

    async def fail(self, token: int, cause: CallEnd, reason: str, retry_after_s: float = 0.0) -> None:
        self.held_s.append(retry_after_s)
        self._end(token, cause, self.calls[token].max_nano if cause in ("timeout", "cancelled") else 0)
        if cause != "cancelled":
            self.known[self.calls[token].id] = KnownFailure(cause=cause, reason=reason)

    async def memory(self, session: str) -> tuple[Remembered, ...]:
        return ()

    async def spent(self, session: str) -> int:
        return sum(nano for token, (_, nano) in self.ends.items() if self.calls[token].session == session)

    async def remember(self, session: str, remembered: Remembered) -> None: ...

    def _end(self, token: int, end: str, cost_nano: int) -> None:
        assert token not in self.ends, "a token ended twice"
        assert 0 <= cost_nano <= self.calls[token].max_nano
        self.ends[token] = (end, cost_nano)

    @property
    def booked_nano(self) -> int:
        """Spent and reserved."""
        return sum(self.ends[at][1] if at in self.ends else call.max_nano for at, call in enumerate(self.calls))

    @property
    def open_tokens(self) -> list[int]:
        return [at for at in range(len(self.calls)) if at not in self.ends]


@dataclass(frozen=True)
class Sent:
    model: ModelConfig
    messages: tuple[Message, ...]
    schema: Schema
    max_tokens: int
    seed: int


@dataclass
class Listed:
    """Answers what stands in a list, one after the other: a text, a response, a failure; the last again and again."""

    answers: list[Any]
    sent: list[Sent] = field(default_factory=list)
    usage: Usage | None = Usage(n_input=100, n_output=10)  # noqa: RUF009

    async def send(
        self,
        model: ModelConfig,
        messages: Sequence[Message],
        schema: Schema,
        *,
        max_tokens: int,
        seed: int,
        timeout: float,
    ) -> Response:
        self.sent.append(Sent(model, tuple(messages), schema, max_tokens, seed))
        await asyncio.sleep(0)
        answer = self.answers[min(len(self.sent), len(self.answers)) - 1]
        if callable(answer):
            answer = await answer()
        if isinstance(answer, CallFailed):
            raise answer
        return answer if isinstance(answer, Response) else Response(text=answer, usage=self.usage, finish_reason="stop")

    async def embed(self, model: ModelConfig, texts: Sequence[str], *, timeout: float) -> Vectors:
        answer = self.answers[0] if self.answers else None
        if isinstance(answer, CallFailed):
            self.answers.pop(0)
            raise answer
        vectors = tuple(array("f", [float(len(text)), 0.5]) for text in texts)
        return Vectors(vectors=vectors, usage=Usage(n_input=7, n_output=0))
