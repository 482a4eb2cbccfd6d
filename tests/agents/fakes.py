"""A gateway that answers by a function, and a treasury that remembers in a dictionary."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from genesys.llm.calls import Call, Denied, Granted, Known, KnownFailure, Remembered, Usage
from genesys.roles.effects import Ask, Refusal


@dataclass(frozen=True)
class Answer:
    value: Any
    model: str = "test/one"
    cost_nano: int = 7
    n_calls: int = 1


@dataclass
class FunctionGateway:
    """Answers each `Ask` by a function of (step, ask); notes the steps asked for, and how many were under way at once."""

    answer: Callable[[str, Ask], Answer | Refusal]
    steps: list[str] = field(default_factory=list)
    most_at_once: int = 0
    _now: int = 0

    async def ask(
        self, session: str, step: str, ask: Ask, *, seed: int, weights: Mapping[str, Mapping[str, float]]
    ) -> Answer | Refusal:
        self.steps.append(step)
        self._now += 1
        self.most_at_once = max(self.most_at_once, self._now)
        await asyncio.sleep(0)
        self._now -= 1
        return self.answer(step, ask)

    async def embed(self, session: str, step: str, texts: Sequence[str]) -> Refusal:
        return Refusal(cause="unavailable", reason="no model for embeddings")


@dataclass
class DictTreasury:
    """Only the memory of sessions: the gateway above makes no calls."""

    kept: dict[str, list[Remembered]] = field(default_factory=dict)

    async def memory(self, session: str) -> tuple[Remembered, ...]:
        return tuple(self.kept.get(session, ()))

    async def spent(self, session: str) -> int:
        return 0

    async def remember(self, session: str, remembered: Remembered) -> None:
        self.kept.setdefault(session, []).append(remembered)

    async def reserve(self, call: Call) -> Granted | Known | KnownFailure | Denied:
        raise AssertionError("no call is made")

    async def commit(self, token: int, response: Mapping[str, Any], usage: Usage, cost_nano: int) -> None:
        raise AssertionError("no call is made")

    async def fail(self, token: int, cause: str, reason: str, retry_after_s: float = 0.0) -> None:
        raise AssertionError("no call is made")
