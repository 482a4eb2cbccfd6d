"""A role's question answered by one of its models: drawn by weight, paid for beforehand, held to its form.

Every HTTP request is one `Call` with a reservation of its own. Which requests are made follows from the session's seed, the
weights, what models answered and the causes for which requests failed: all of that is in the call book, so that a session
which is taken up again takes the same way through answers that are paid for already.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
from array import array
from base64 import b64decode, b64encode
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from random import Random
from typing import Any, Literal

from genesys.errors import ConfigError
from genesys.llm.calls import Call, CallFailure, Denied, Treasury, Usage
from genesys.llm.client import Client
from genesys.llm.prices import PriceList, bound_input, bound_texts
from genesys.llm.reading import read_object
from genesys.llm.schema import schema_of, validated
from genesys.llm.sending import Done, Failed, Sender, Sleep
from genesys.llm.settings import EMBEDDING, AgentsConfig, ModelConfig, Structured
from genesys.roles.effects import Ask, Refusal, RefusalCause
from genesys.roles.packing import count_tokens, shorten
from genesys.roles.prompt import Prompt

_MODES: tuple[Structured, ...] = ("json_schema", "json_object", "none")
_LEAST_ANSWER_TOKENS = 256
_ECHO_TOKENS = 2000
_REPAIR = "Your answer cannot be used. {wrong}\nAnswer again, whole: one JSON object of the form asked for, and nothing around it."
_CUT_OFF = "It was cut off at {n} tokens, so it must be shorter. "
_REFUSALS: Mapping[CallFailure, RefusalCause] = {"refused": "declined", "too-long": "too-long"}
_SAYS_MOST: tuple[RefusalCause, ...] = ("malformed", "declined", "too-long", "unavailable")


@dataclass(frozen=True, slots=True, kw_only=True)
class Answered:
    """An answer of the form asked for.

    Attributes:
        value: An instance of the ask's `answer`.
        model: Who gave it.
        usage, cost_nano: Of all requests that it took; those whose end nobody knows cost all that was set aside.
        n_calls: Requests, those that failed included.
    """

    value: Any
    model: str
    usage: Usage
    cost_nano: int
    n_calls: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Embedded:
    """Embeddings of texts, in their order."""

    vectors: tuple[array[float], ...]
    cost_nano: int
    n_calls: int


class Gateway:
    """One for a process; any number of sessions may ask at once.

    Nothing that a model or an endpoint answers raises; what the treasury raises does.

    Raises:
        ConfigError: A model for which the run has no price.
    """

    def __init__(
        self,
        agents: AgentsConfig,
        prices: PriceList,
        treasury: Treasury,
        client: Client,
        sleep: Sleep = asyncio.sleep,
    ) -> None:
        self.agents = agents
        self.prices = prices
        self.client = client
        self.sender = Sender(treasury, sleep)
        self.modes: dict[tuple[str, str], Structured] = {}  # by model and endpoint, what it last answered in
        for name in {model.name for models in agents.models.values() for model in models}:
            _ = prices[name]

    async def ask(
        self,
        session: str,
        step: str,
        ask: Ask,
        *,
        seed: int,
        weights: Mapping[str, Mapping[str, float]] | None = None,
    ) -> Answered | Refusal:
        """An answer to a session's question.

        After one repair turn, or a failure that stays, the role's other models are asked, in an order drawn by weight.

        Args:
            weights: Of models by role, in place of the configured ones; a model that a role's do not name, since it came
                later, counts nothing, so that draws stay as they were.
        """
        draw = Random(f"{seed} {session} {step} {ask.sample}")
        asking = _Asking(self, session, step, ask, draw.getrandbits(31))
        return await asking.answer(_drawn(self._models(ask.role), (weights or {}).get(ask.role, {}), draw))

    async def embed(self, session: str, step: str, texts: Sequence[str]) -> Embedded | Refusal:
        """Embeddings of texts by the first of the models named for them, paid and remembered like an answer."""
        models = self.agents.models.get(EMBEDDING, ())
        if not models:
            return Refusal(cause="unavailable", reason="the run has no model for embeddings")
        model = models[0]

        async def send() -> tuple[dict[str, Any], Usage | None]:
            found = await self.client.embed(model, texts, timeout=model.timeout_s)
            return {"vectors": [b64encode(vector.tobytes()).decode() for vector in found.vectors]}, found.usage

        n_bound, price, cost_nano = bound_texts(texts), self.prices[model.name], 0
        refusal = Refusal(cause="unavailable", reason="")
        for attempt in range(self.agents.n_retries + 1):
            call = Call(
                id=_digest([session, step, attempt, model.name, *texts]),
                session=session,
                step=step,
                attempt=attempt,
                role=EMBEDDING,
                purpose="embedding",
                model=model.name,
                prompt_version="",
                schema="",
                seed=0,
                n_input_bound=n_bound,
                n_output_bound=0,
                max_nano=price.bound(n_bound, 0),
            )
            outcome = await self.sender.perform(call, price, send)
            if isinstance(outcome, Denied):
                return Refusal(
                    cause="money", reason=outcome.reason, cap=outcome.cap, cost_nano=cost_nano, n_calls=attempt
                )
            cost_nano += outcome.cost_nano
            if isinstance(outcome, Done):
                vectors = [array("f", b64decode(vector)) for vector in outcome.response["vectors"]]
                return Embedded(vectors=tuple(vectors), cost_nano=cost_nano, n_calls=attempt + 1)
            cause = _REFUSALS.get(outcome.cause, "unavailable")
            refusal = Refusal(cause=cause, reason=outcome.reason, cost_nano=cost_nano, n_calls=attempt + 1)
            if outcome.cause not in ("rate-limited", "unavailable"):
                break
            await self.sender.pause(outcome.wait_s(attempt + 1))
        return refusal

    def _models(self, role: str) -> tuple[ModelConfig, ...]:
        models = self.agents.models.get(role) or self.agents.models.get("default", ())
        if not models:
            raise ConfigError(
                f"Cannot ask the {role}: agents.models has no models for it; expected at least one. "
                f"Add {role} or default to agents.models."
            )
        return models


@dataclass(slots=True)
class _Asking:
    """One step of a session: numbers its requests and adds up what they cost."""

    gateway: Gateway
    session: str
    step: str
    ask: Ask
    seed: int
    n_calls: int = 0
    cost_nano: int = 0
    usage: Usage = field(default_factory=lambda: Usage(n_input=0, n_output=0))
    repaired: bool = False

    async def answer(self, models: Sequence[ModelConfig]) -> Answered | Refusal:
        refusals: dict[str, Refusal] = {}
        for model in models:
            found = await self._from(model)
            if not isinstance(found, Refusal):
                return Answered(
                    value=found, model=model.name, usage=self.usage, cost_nano=self.cost_nano, n_calls=self.n_calls
                )
            if found.cause == "money":
                return self._counted(found)
            refusals[model.name] = found
        cause = min((refusal.cause for refusal in refusals.values()), key=_SAYS_MOST.index)
        reason = "; ".join(f"{name}: {refusal.reason}" for name, refusal in refusals.items())
        return self._counted(Refusal(cause=cause, reason=reason))

    def _counted(self, refusal: Refusal) -> Refusal:
        return replace(refusal, cost_nano=self.cost_nano, n_calls=self.n_calls)

    async def _from(self, model: ModelConfig) -> Any:
        """One model's answer, or its refusal; with a repair turn if the ask has had none."""
        prompt = self.ask.prompt
        purpose: Literal["answer", "repair"] = "answer"
        while True:
            heard = await self._heard(model, prompt, purpose)
            if isinstance(heard, Refusal):
                return heard
            text = str(heard["text"])
            found = read_object(text, self.ask.answer.__dataclass_fields__)
            value = found if isinstance(found, str) else validated(self.ask.answer, found)
            if not isinstance(value, str):
                return value
            wrong = (_CUT_OFF.format(n=self._room(model, prompt)) if heard["finish_reason"] == "length" else "") + value
            if self.repaired:
                return Refusal(cause="malformed", reason=wrong)
            self.repaired, purpose = True, "repair"
            prompt = prompt.reply(shorten(text, _ECHO_TOKENS) or "(nothing)", _REPAIR.format(wrong=wrong))

    async def _heard(
        self, model: ModelConfig, prompt: Prompt, purpose: Literal["answer", "repair"]
    ) -> Mapping[str, Any] | Refusal:
        """What a model answers, after as many tries as its failures allow."""
        failed: Counter[CallFailure] = Counter()
        while True:
            if (room := self._room(model, prompt)) < min(_LEAST_ANSWER_TOKENS, model.max_tokens):
                limit = self.gateway.prices[model.name].context_tokens
                return Refusal(cause="too-long", reason=f"The prompt leaves {room} of {limit} tokens for the answer.")
            outcome = await self._request(model, prompt, purpose, room, failed["bad-request"])
            if isinstance(outcome, Denied):
                return Refusal(cause="money", reason=outcome.reason, cap=outcome.cap)
            if isinstance(outcome, Done):
                if outcome.response["finish_reason"] == "refusal":
                    return Refusal(cause="declined", reason=str(outcome.response["text"])[:500] or "It said nothing.")
                return outcome.response
            failed[outcome.cause] += 1
            if failed[outcome.cause] > self._tries(outcome, model):
                return Refusal(cause=_REFUSALS.get(outcome.cause, "unavailable"), reason=outcome.reason)
            await self.gateway.sender.pause(outcome.wait_s(failed[outcome.cause]))

    def _tries(self, failed: Failed, model: ModelConfig) -> int:
        """Further tries at one model. A `timeout` is paid, so there is one; a lesser mode is free."""
        n_retries = self.gateway.agents.n_retries
        modes = len(_MODES) - 1 if model.structured == "auto" else 0
        tries = {
            "rate-limited": n_retries,
            "unavailable": n_retries,
            "timeout": min(n_retries, 1),
            "bad-request": modes,
        }
        return tries.get(failed.cause, 0)

    def _room(self, model: ModelConfig, prompt: Prompt) -> int:
        """Tokens that an answer may take, by the estimate of the prompt's."""
        context = self.gateway.prices[model.name].context_tokens
        if context is None:
            return model.max_tokens
        n_tokens = sum(count_tokens(message.text) for message in prompt.messages)
        return min(model.max_tokens, context - n_tokens - count_tokens(schema_of(self.ask.answer).text))

    async def _request(
        self, model: ModelConfig, prompt: Prompt, purpose: Literal["answer", "repair"], max_tokens: int, n_lesser: int
    ) -> Done | Failed | Denied:
        schema = schema_of(self.ask.answer)
        price = self.gateway.prices[model.name]
        n_input_bound = bound_input(prompt.messages, 2 * len(schema.text.encode()))
        conversation = [(message.author, message.text) for message in prompt.messages]
        call = Call(
            id=_digest([self.session, self.step, self.n_calls, model.name, self.seed, schema.hash, conversation]),
            session=self.session,
            step=self.step,
            attempt=self.n_calls,
            role=self.ask.role,
            purpose=purpose,
            model=model.name,
            prompt_version=prompt.version,
            schema=schema.name,
            seed=self.seed,
            n_input_bound=n_input_bound,
            n_output_bound=max_tokens,
            max_nano=price.bound(n_input_bound, max_tokens),
        )

        async def send() -> tuple[dict[str, Any], Usage | None]:
            mode = self._mode(model, n_lesser)
            answer = await self.gateway.client.send(
                replace(model, structured=mode),
                prompt.messages,
                schema,
                max_tokens=max_tokens,
                seed=self.seed,
                timeout=model.timeout_s,
            )
            self.gateway.modes[model.name, model.api_base] = mode
            return {"text": answer.text, "finish_reason": answer.finish_reason}, answer.usage

        outcome = await self.gateway.sender.perform(call, price, send)
        if not isinstance(outcome, Denied):
            self.n_calls += 1
            self.cost_nano += outcome.cost_nano
        if isinstance(outcome, Done):
            self.usage = _sum(self.usage, outcome.usage)
        return outcome

    def _mode(self, model: ModelConfig, n_lesser: int) -> Structured:
        """The model's own mode; of `auto`, the one known to serve at its endpoint, or a lesser one after requests called bad.

        Of the two the lesser, not their sum: others that were refused at the same time may have found it meanwhile.
        """
        if model.structured != "auto":
            return model.structured
        known = self.gateway.modes.get((model.name, model.api_base), _MODES[0])
        return _MODES[max(_MODES.index(known), n_lesser)]


def _drawn(models: Sequence[ModelConfig], weights: Mapping[str, float], draw: Random) -> list[ModelConfig]:
    """All models in an order drawn by the given weights, or by their own without any; those of weight 0 come last."""
    left = [(model, max(weights.get(model.name, 0.0) if weights else model.weight, 0.0)) for model in models]
    order: list[ModelConfig] = []
    while left:
        shares = [weight for _, weight in left]
        at = draw.choices(range(len(left)), shares)[0] if any(shares) else 0
        order.append(left.pop(at)[0])
    return order


def _digest(parts: Sequence[Any]) -> str:
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def _sum(one: Usage, other: Usage) -> Usage:
    return Usage(
        n_input=one.n_input + other.n_input,
        n_output=one.n_output + other.n_output,
        n_cached=one.n_cached + other.n_cached,
        n_written=one.n_written + other.n_written,
    )
