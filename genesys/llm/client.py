"""One request to one endpoint: the only place that knows LiteLLM.

LiteLLM's `Router` is not used: it would choose, retry and fall back by itself, and each request here has a reservation of its own.
"""

from __future__ import annotations

import asyncio
import logging
import os
import re
import time
from array import array
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from functools import cache
from importlib import util
from typing import Any, Protocol

from genesys.errors import ConfigError
from genesys.llm.calls import CallFailure, Usage
from genesys.llm.prices import caches_on_request
from genesys.llm.schema import Schema
from genesys.llm.served import endpoint
from genesys.llm.settings import ModelConfig
from genesys.roles.prompt import Message

OWN_HANDLER = "EXPERIMENTAL_OPENAI_BASE_LLM_HTTP_HANDLER"
"""The variable by which LiteLLM sends OpenAI's requests as it sends all others, not through OpenAI's package."""

_MOST_REASON = 500
_NO_KEY = "none"
_TOO_LONG = re.compile(r"context (length|window|size)|context_length|prompt is too long")
_NO_CREDIT = re.compile(r"insufficient_quota|exceeded your current quota|credit balance is too low")


@dataclass(frozen=True, slots=True, kw_only=True)
class Response:
    """What an endpoint answered.

    Attributes:
        usage: None when it did not say.
        finish_reason: `stop`, `length`, `refusal`, or what else the provider calls it.
    """

    text: str
    usage: Usage | None
    finish_reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Vectors:
    """Embeddings of texts, in their order."""

    vectors: tuple[array[float], ...]
    usage: Usage | None


class CallFailed(Exception):
    """A request without an answer. `retry_after_s` is what the endpoint asked to wait, 0 when it did not."""

    def __init__(self, cause: CallFailure, reason: str, retry_after_s: float = 0.0) -> None:
        self.cause: CallFailure = cause
        self.reason = reason[:_MOST_REASON]
        self.retry_after_s = retry_after_s
        super().__init__(self.reason)


class Client(Protocol):
    """Sends one HTTP request, and raises nothing but `CallFailed`."""

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
        """An answer in the model's mode; `auto` counts as `json_schema`."""
        ...

    async def embed(self, model: ModelConfig, texts: Sequence[str], *, timeout: float) -> Vectors: ...


class LiteLLMClient:
    """Requests through LiteLLM: no retries, no streaming, no caching.

    Keys are read from the environment at the moment of a call. An entry with an `api_base` of its own is sent the key that
    its `api_key_env` names, or none: a provider's usual key never goes to another server.

    Raises:
        ConfigError: LiteLLM is not installed.
    """

    def __init__(self) -> None:
        if util.find_spec("litellm") is None:
            raise ConfigError(
                "Cannot ask language models: LiteLLM is not installed. Install it: pip install 'genesys-evolution[llm]'"
            )

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
        litellm = await _loaded()
        request = _request(model, timeout) | {
            "messages": _messages(model, messages, schema),
            "response_format": _response_format(model, schema),
            "max_tokens": max_tokens,
            "temperature": model.temperature,
            "seed": seed,
        }
        try:
            async with asyncio.timeout(timeout):  # LiteLLM's own counts anew with each piece of an answer
                with unlogged():
                    return _response(await litellm.acompletion(**request))
        except Exception as error:
            raise _failure(error, model.api_key_env) from None

    async def embed(self, model: ModelConfig, texts: Sequence[str], *, timeout: float) -> Vectors:
        litellm = await _loaded()
        request = _request(model, timeout) | {"input": [_clean(text) for text in texts]}
        try:
            async with asyncio.timeout(timeout):
                with unlogged():
                    answer = await litellm.aembedding(**request)
            rows = sorted(answer.data, key=lambda row: row["index"])
            return Vectors(vectors=tuple(array("f", row["embedding"]) for row in rows), usage=_usage(answer))
        except Exception as error:
            raise _failure(error, model.api_key_env) from None

    async def close(self) -> None:
        """Close the connections that LiteLLM keeps for this event loop."""
        await _litellm().close_litellm_async_clients()


def _request(model: ModelConfig, timeout: float) -> dict[str, Any]:
    is_openai = model.name.startswith("openai/") and not model.api_base
    variable = model.api_key_env or ("OPENAI_API_KEY" if is_openai else "")  # LiteLLM would ask without it
    key = os.environ.get(variable) if variable else None
    if variable and not key:
        raise CallFailed("forbidden", f"The environment variable {variable} is not set.")
    return {
        "model": model.name,
        "api_base": _endpoint(model) or None,
        "api_key": key or (_NO_KEY if model.api_base else None),
        "timeout": timeout,
        "max_retries": 0,
        "num_retries": 0,
        "drop_params": True,
    }


def _endpoint(model: ModelConfig) -> str:
    try:
        return endpoint(model.api_base)
    except ConfigError as error:
        raise CallFailed("unavailable", str(error)) from None


def _messages(model: ModelConfig, messages: Sequence[Message], schema: Schema) -> list[dict[str, Any]]:
    """Stable messages stay first, so that providers cache them. Where nobody else shows the model the schema, the last of them does."""
    plain: list[dict[str, Any]] = [{"role": message.author, "content": _clean(message.text)} for message in messages]
    stable = [at for at, message in enumerate(messages) if message.stable]
    if model.api_base or model.structured in ("json_object", "none"):
        told = f"\n\nAnswer with one JSON object and nothing else. It must follow this JSON schema:\n{schema.text}"
        plain[stable[-1] if stable else -1]["content"] += told
    if stable and caches_on_request(model.name):
        last = plain[stable[-1]]
        last["content"] = [{"type": "text", "text": last["content"], "cache_control": {"type": "ephemeral"}}]
    return plain


def _response_format(model: ModelConfig, schema: Schema) -> dict[str, Any] | None:
    if model.structured == "none":
        return None
    if model.structured == "json_object":  # llama.cpp reads the schema here, others pass over it
        return {"type": "json_object"} | ({"schema": dict(schema.json)} if model.api_base else {})
    return {"type": "json_schema", "json_schema": {"name": schema.name, "schema": dict(schema.json), "strict": True}}


def _response(answer: Any) -> Response:
    if not answer.choices:
        return Response(text="", usage=_usage(answer), finish_reason="")
    message, finish_reason = answer.choices[0].message, str(answer.choices[0].finish_reason)
    refusal = (message.get("provider_specific_fields") or {}).get("refusal")
    return Response(
        text=_clean(message.content or str(refusal or "")),
        usage=_usage(answer),
        finish_reason="refusal" if refusal or finish_reason == "content_filter" else finish_reason,
    )


def _usage(answer: Any) -> Usage | None:
    usage = getattr(answer, "usage", None)
    if usage is None or not usage.prompt_tokens:  # LiteLLM fills in zeros where a server tells nothing
        return None
    details = getattr(usage, "prompt_tokens_details", None)
    return Usage(
        n_input=usage.prompt_tokens,
        n_output=usage.completion_tokens or 0,
        n_cached=getattr(details, "cached_tokens", None) or 0,
        n_written=getattr(usage, "cache_creation_input_tokens", None) or 0,
    )


def _clean(text: str) -> str:
    """Without lone surrogates, which JSON can say and no file can hold."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode()


def _failure(error: Exception, api_key_env: str = "") -> CallFailed:
    """What became of a request, from LiteLLM's exception; whatever is not sure to be free is a `timeout`."""
    import aiohttp
    import litellm
    import openai

    reason = _without_keys(str(error).removeprefix("litellm."), api_key_env)
    chain = list(_chain(error))
    if any(type(link) is openai.OpenAIError for link in chain):  # no credentials
        return CallFailed("forbidden", reason)
    if not _was_answered(chain):
        late = isinstance(error, TimeoutError)
        root = "in time" if late else _without_keys(f"{type(chain[-1]).__name__}: {chain[-1]}", api_key_env)
        if any(isinstance(link, aiohttp.ClientConnectorError | aiohttp.ConnectionTimeoutError) for link in chain):
            return CallFailed("unavailable", f"No connection came about ({root}).")
        return CallFailed("timeout", f"No answer came that can be read ({root}).")
    said = " ".join(str(link) for link in chain).lower()
    status = getattr(error, "status_code", None) or 0
    if isinstance(error, litellm.ContextWindowExceededError) or (400 <= status < 500 and _TOO_LONG.search(said)):
        return CallFailed("too-long", reason)
    if isinstance(error, litellm.ContentPolicyViolationError):
        return CallFailed("refused", reason)
    if status in (401, 402, 403, 404) or _NO_CREDIT.search(said):
        return CallFailed("forbidden", reason)
    if status in (408, 504):
        return CallFailed("timeout", reason)
    unknown_form = status == 500 and "response_format" in said  # as llama.cpp's server meets it
    if unknown_form or (status < 500 and status != 429):
        return CallFailed("bad-request", reason)
    return CallFailed("rate-limited" if status == 429 else "unavailable", reason, _retry_after(error))


def _was_answered(chain: Sequence[BaseException]) -> bool:
    """Whether an endpoint answered with an error of its own, or LiteLLM refused to send.

    LiteLLM gives broken connections and answers that it cannot read a status of 500, but none of 4xx; and it makes
    `httpx.ConnectError` of connections that broke after the request was sent.
    """
    import httpx
    import openai

    if any(isinstance(link, httpx.TransportError | openai.APIConnectionError | TimeoutError) for link in chain):
        return False
    told = (link for link in chain if isinstance(link, httpx.HTTPStatusError) or type(link).__module__ == "openai")
    own = getattr(chain[0], "status_code", None) or 0
    return 400 <= own < 500 or any(isinstance(getattr(link, "status_code", None), int) for link in told)


def _without_keys(text: str, api_key_env: str) -> str:
    """On one line, and without the keys that a provider may quote."""
    for name, value in os.environ.items():
        if (name == api_key_env or name.endswith(("_KEY", "_TOKEN", "_SECRET"))) and len(value) >= 8:
            text = text.replace(value, f"[{name}]")
    return " ".join(text.split())


def _chain(error: BaseException) -> Iterator[BaseException]:
    link: BaseException | None = error
    for _ in range(20):
        if link is None:
            return
        yield link
        link = link.__cause__ or link.__context__


def _retry_after(error: Exception) -> float:
    """Seconds that an endpoint asks to wait, given as such or as a date; 0 when it does not."""
    response = getattr(error, "response", None)
    for headers in (getattr(error, "litellm_response_headers", None), getattr(response, "headers", None)):
        said = (headers or {}).get("retry-after") or (headers or {}).get("Retry-After") or ""
        try:
            return max(0.0, float(said))
        except ValueError:
            with suppress(ValueError):
                return max(0.0, parsedate_to_datetime(said).timestamp() - time.time())
    return 0.0


async def _loaded() -> Any:
    """LiteLLM; importing it takes seconds, in which others of this loop go on."""
    if _litellm.cache_info().currsize:
        return _litellm()
    return await asyncio.to_thread(_litellm)


@cache
def _litellm() -> Any:
    """LiteLLM, silent, without a network of its own, and with one way to send, which costs half of OpenAI's package."""
    os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"
    os.environ[OWN_HANDLER] = "True"
    import litellm
    from litellm.litellm_core_utils.litellm_logging import Logging
    from litellm.llms.custom_httpx.http_handler import AsyncHTTPHandler

    litellm.suppress_debug_info = True
    litellm.turn_off_message_logging = True
    for name in ("LiteLLM", "LiteLLM Router", "LiteLLM Proxy"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    Logging.response_cost_calculator = _no_cost
    AsyncHTTPHandler.single_connection_post_request = _no_second_request
    return litellm


def _no_cost(*_args: Any, **_kwargs: Any) -> None:
    """In place of LiteLLM's own, a sixth of its time: what calls cost is counted here, by the run's prices."""


@contextmanager
def unlogged() -> Iterator[None]:
    """Without LiteLLM's records of a call for callbacks, of which there are none here: a fifth of its time."""
    from litellm._internal_context import is_internal_call

    before = is_internal_call.set(True)
    try:
        yield
    finally:
        is_internal_call.reset(before)


async def _no_second_request(*_args: Any, **_kwargs: Any) -> Any:
    """In place of LiteLLM's own: it sends a request anew when a connection breaks, and both may be charged."""
    raise
