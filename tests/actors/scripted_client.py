"""A client of the gateway that answers in this process, as the scripted model does over HTTP."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Sequence
from random import Random
from typing import Any

from genesys.llm.calls import Usage
from genesys.llm.client import Response
from genesys.testing._answers import Rates, answer


class ScriptedClient:
    """Answers by the forms and the lines of the prompt.

    Args:
        seconds: How long an answer takes.
        change: Changes an answer, given its form and its fields, before it is sent.
    """

    def __init__(
        self, rates: Rates | None = None, *, seconds: float = 0.0, change: Callable[[str, dict[str, Any]], Any] | None = None
    ) -> None:  # fmt: skip
        self._rates = rates or Rates(p_tool=0.0, p_search=0.2, p_reuse=0.0)
        self._seconds, self._change = seconds, change
        self.asked: list[str] = []

    async def send(
        self, model: Any, messages: Sequence[Any], schema: Any, *, max_tokens: int, seed: int, timeout: float
    ) -> Response:
        await asyncio.sleep(self._seconds)
        self.asked.append(schema.name)
        task = next(message.text for message in messages if message.author == "user")
        is_first = not any(message.author == "assistant" for message in messages)
        rng = Random(f"{seed} {len(self.asked)}")
        text = answer(schema.name, dict(schema.json), task, is_first=is_first, rates=self._rates, rng=rng)
        if self._change is not None:
            fields = json.loads(text)
            self._change(schema.name, fields)
            text = json.dumps(fields)
        n_input = sum(len(message.text) for message in messages) // 4
        return Response(text=text, usage=Usage(n_input=n_input, n_output=len(text) // 4), finish_reason="stop")
