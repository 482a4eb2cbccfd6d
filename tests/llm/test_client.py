"""One request through LiteLLM to a server on loopback: what is sent, what comes back, and what each failure is booked as."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from aiohttp import web

from genesys.errors import ConfigError
from genesys.llm.calls import Usage
from genesys.llm.client import CallFailed, LiteLLMClient, Response, _failure, _messages
from genesys.llm.schema import schema_of
from genesys.llm.settings import ModelConfig
from genesys.roles.answers import ObserverTurn
from genesys.roles.prompt import Message

SCHEMA = schema_of(ObserverTurn)
MESSAGES = (Message(author="system", text="You observe.", stable=True), Message(author="user", text="Look."))
USAGE = {"prompt_tokens": 10, "completion_tokens": 2, "total_tokens": 12, "prompt_tokens_details": {"cached_tokens": 4}}
SECRET = "sk-0123456789-secret"
PROVIDERS = ("openai", "hosted_vllm")  # OpenAI's own package, and LiteLLM's handler of all others


@dataclass
class Server:
    """Answers as it is told, and keeps what it was asked."""

    answer: Callable[[web.Request], Awaitable[web.StreamResponse]] = field(default=None)  # type: ignore[assignment]
    url: str = ""
    asked: list[tuple[dict[str, Any], dict[str, str]]] = field(default_factory=list)

    async def handle(self, request: web.Request) -> web.StreamResponse:
        self.asked.append((await request.json(), dict(request.headers)))
        return await self.answer(request)

    def says(self, status: int = 200, **body: Any) -> None:
        headers = body.pop("headers", None)

        async def answer(_: web.Request) -> web.StreamResponse:
            return web.json_response(body, status=status, headers=headers)

        self.answer = answer

    def model(self, provider: str = "openai") -> ModelConfig:
        return ModelConfig(name=f"{provider}/m", api_base=self.url)


def completion(content: str | None = "{}", finish_reason: str = "stop", **message: Any) -> dict[str, Any]:
    choice = {
        "index": 0,
        "message": {"role": "assistant", "content": content} | message,
        "finish_reason": finish_reason,
    }
    return {"id": "1", "object": "chat.completion", "created": 1, "model": "m", "choices": [choice], "usage": USAGE}


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    it = Server()
    app = web.Application()
    app.router.add_post("/v1/chat/completions", it.handle)
    app.router.add_post("/v1/embeddings", it.handle)
    app.router.add_post("/v1/messages", it.handle)  # Anthropic
    app.router.add_post("/v1/models/m:generateContent", it.handle)  # Google
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    it.url = f"http://127.0.0.1:{runner.addresses[0][1]}/v1"
    yield it
    await LiteLLMClient().close()
    await runner.cleanup()


async def send(model: ModelConfig, messages: tuple[Message, ...] = MESSAGES, timeout: float = 30.0) -> Response:
    return await LiteLLMClient().send(model, messages, SCHEMA, max_tokens=99, seed=5, timeout=timeout)


@pytest.mark.parametrize("provider", PROVIDERS)
async def test_an_answer_and_its_usage(server: Server, provider: str) -> None:
    server.says(**completion('{"a": 1}'))
    answer = await send(server.model(provider))
    assert answer == Response(text='{"a": 1}', usage=Usage(n_input=10, n_output=2, n_cached=4), finish_reason="stop")
    body, _ = server.asked[0]
    assert (body["model"], body["max_tokens"], body["seed"]) == ("m", 99, 5) and "stream" not in body
    form = body["response_format"]
    assert form["type"] == "json_schema" and form["json_schema"]["strict"] is True
    assert form["json_schema"]["name"] == "ObserverTurn" and form["json_schema"]["schema"] == SCHEMA.json


async def test_modes_of_structure(server: Server) -> None:
    server.says(**completion())
    await send(replace(server.model(), structured="json_object"))
    await send(replace(server.model(), structured="none"))
    assert server.asked[0][0]["response_format"] == {"type": "json_object", "schema": SCHEMA.json}
    assert "response_format" not in server.asked[1][0]
    assert all(SCHEMA.text in body["messages"][0]["content"] for body, _ in server.asked)


def test_who_shows_the_model_the_schema_and_where_a_cache_ends() -> None:
    openai = _messages(ModelConfig(name="openai/gpt-5"), MESSAGES, SCHEMA)
    assert [message["content"] for message in openai] == ["You observe.", "Look."]
    claude = _messages(ModelConfig(name="anthropic/claude-x"), MESSAGES, SCHEMA)
    marked = [{"type": "text", "text": "You observe.", "cache_control": {"type": "ephemeral"}}]
    assert [message["content"] for message in claude] == [marked, "Look."]
    bare = _messages(ModelConfig(name="m", structured="none"), MESSAGES[1:], SCHEMA)
    assert bare[0]["content"].startswith("Look.\n\nAnswer with one JSON object")


async def test_claudes_cache_is_marked_and_counted(server: Server) -> None:
    usage = {
        "input_tokens": 10,
        "output_tokens": 5,
        "cache_creation_input_tokens": 100,
        "cache_read_input_tokens": 1000,
    }
    server.says(id="m", type="message", role="assistant", model="claude-m", stop_reason="end_turn", usage=usage,
                content=[{"type": "text", "text": "{}"}])  # fmt: skip
    model = ModelConfig(name="anthropic/claude-m", api_base=server.url.removesuffix("/v1"), structured="none")
    answer = await send(model)
    assert answer.text == "{}" and answer.usage == Usage(n_input=1110, n_output=5, n_cached=1000, n_written=100)
    assert server.asked[0][0]["system"][0]["cache_control"] == {"type": "ephemeral"}
    server.answer = _drop
    with pytest.raises(CallFailed):
        await send(model)
    assert len(server.asked) == 2


async def test_geminis_thoughts_are_output(server: Server) -> None:
    usage = {"promptTokenCount": 1000, "candidatesTokenCount": 20, "thoughtsTokenCount": 30, "totalTokenCount": 1050,
             "cachedContentTokenCount": 400}  # fmt: skip
    candidate = {"content": {"role": "model", "parts": [{"text": "{}"}]}, "finishReason": "STOP", "index": 0}
    server.says(candidates=[candidate], usageMetadata=usage)
    answer = await send(ModelConfig(name="gemini/m", api_base=server.url))
    assert answer.text == "{}" and answer.usage == Usage(n_input=1000, n_output=50, n_cached=400)


@pytest.mark.parametrize("provider", PROVIDERS)
async def test_what_an_endpoint_leaves_out(server: Server, provider: str) -> None:
    silent = completion() | {"usage": None}
    server.says(**silent)
    assert (await send(server.model(provider))).usage is None
    server.says(**completion() | {"choices": []})
    assert (await send(server.model(provider))).text == ""
    server.says(**completion(None, refusal="I will not."))
    assert (await send(server.model(provider))).finish_reason == "refusal"
    server.says(**completion("", "content_filter"))
    assert (await send(server.model(provider))).finish_reason == "refusal"
    server.says(**completion("a\ud800b"))
    assert (await send(server.model(provider))).text == "a?b"


@pytest.mark.parametrize("provider", PROVIDERS)
@pytest.mark.parametrize(
    ("status", "error", "cause"),
    [
        (400, {"message": "response_format json_schema is unknown"}, "bad-request"),
        (
            400,
            {"message": "This model's maximum context length is 10 tokens", "code": "context_length_exceeded"},
            "too-long",
        ),
        (400, {"message": "the request exceeds the available context size"}, "too-long"),
        (401, {"message": f"Incorrect API key {SECRET}"}, "forbidden"),
        (402, {"message": "pay"}, "forbidden"),
        (403, {"message": "no"}, "forbidden"),
        (404, {"message": "no such model"}, "forbidden"),
        (422, {"message": "what?"}, "bad-request"),
        (429, {"message": "slow down"}, "rate-limited"),
        (429, {"message": "You exceeded your current quota", "code": "insufficient_quota"}, "forbidden"),
        (500, {"message": "oops"}, "unavailable"),
        (500, {"message": "response_format: input should be 'text' or 'json_object'"}, "bad-request"),
        (503, {"message": "busy"}, "unavailable"),
        (504, {"message": "late"}, "timeout"),
    ],
)
async def test_errors_of_an_endpoint(
    server: Server, provider: str, status: int, error: dict[str, Any], cause: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOME_API_KEY", SECRET)
    server.says(status, error=error, headers={"Retry-After": "7"})
    with pytest.raises(CallFailed) as caught:
        await send(server.model(provider))
    assert caught.value.cause == cause and SECRET not in caught.value.reason and len(server.asked) == 1
    assert caught.value.retry_after_s == (7.0 if cause in ("rate-limited", "unavailable") else 0.0)


async def _drop(request: web.Request) -> web.StreamResponse:
    assert request.transport is not None
    request.transport.abort()
    return web.Response()


async def _break_off(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Length": "1000"})
    await response.prepare(request)
    await response.write(b'{"id":')
    assert request.transport is not None
    request.transport.close()
    return response


async def _dribble(request: web.Request) -> web.StreamResponse:
    """A byte now and then, each within a time limit that counts from the last."""
    response = web.StreamResponse(headers={"Content-Length": "1000"})
    await response.prepare(request)
    for _ in range(100):
        await asyncio.sleep(0.1)
        await response.write(b" ")
    return response


async def _babble(_: web.Request) -> web.StreamResponse:
    return web.Response(text="<html>", content_type="text/html")


@pytest.mark.parametrize("provider", PROVIDERS)
@pytest.mark.parametrize(("answer", "timeout"), [(_drop, 30.0), (_break_off, 30.0), (_dribble, 1.0), (_babble, 30.0)])
async def test_what_may_have_been_charged_is_a_timeout_and_sent_once(
    server: Server, provider: str, answer: Any, timeout: float
) -> None:
    server.answer = answer
    with pytest.raises(CallFailed) as caught:
        await send(server.model(provider), timeout=timeout)
    assert caught.value.cause == "timeout" and len(server.asked) == 1


@pytest.mark.parametrize("provider", PROVIDERS)
async def test_a_server_that_is_not_there_is_free(provider: str) -> None:
    with pytest.raises(CallFailed, match="No connection came about") as caught:
        await send(ModelConfig(name=f"{provider}/m", api_base="http://127.0.0.1:9/v1"))
    assert caught.value.cause == "unavailable"


@pytest.mark.parametrize("provider", PROVIDERS)
async def test_a_providers_key_goes_to_no_other_server(
    server: Server, provider: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("OPENAI_API_KEY", "HOSTED_VLLM_API_KEY", "GENESYS_TEST_KEY"):
        monkeypatch.setenv(name, SECRET)
    server.says(**completion())
    await send(server.model(provider))
    assert SECRET not in json.dumps(server.asked)
    await send(replace(server.model(provider), api_key_env="GENESYS_TEST_KEY"))
    assert server.asked[1][1]["Authorization"] == f"Bearer {SECRET}" and SECRET not in json.dumps(server.asked[1][0])


async def test_a_key_of_any_name_is_not_repeated(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_PASS", SECRET)
    server.says(401, error={"message": f"Incorrect API key {SECRET}"})
    with pytest.raises(CallFailed, match=r"Incorrect API key \[MY_PASS\]"):
        await send(replace(server.model(), api_key_env="MY_PASS"))


async def test_a_key_that_is_missing_is_named(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    with pytest.raises(CallFailed, match="variable MY_KEY is not set") as caught:
        await send(replace(server.model(), api_key_env="MY_KEY"))
    assert caught.value.cause == "forbidden"
    with pytest.raises(CallFailed, match="OPENAI_API_KEY") as caught:
        await send(ModelConfig(name="openai/gpt-5"))
    assert caught.value.cause == "forbidden"


async def test_an_unknown_provider_is_a_bad_request() -> None:
    with pytest.raises(CallFailed, match="nonsense/m") as caught:
        await send(ModelConfig(name="nonsense/m"))
    assert caught.value.cause == "bad-request"


async def test_embeddings_come_in_the_order_of_their_texts(server: Server) -> None:
    rows = [{"index": at, "embedding": [float(at), 0.5], "object": "embedding"} for at in (1, 0)]
    server.says(object="list", data=rows, model="m", usage={"prompt_tokens": 3, "total_tokens": 3})
    found = await LiteLLMClient().embed(server.model(), ["a", "b"], timeout=30.0)
    assert [vector[0] for vector in found.vectors] == [0.0, 1.0] and found.usage == Usage(n_input=3, n_output=0)
    assert server.asked[0][0]["input"] == ["a", "b"]


def test_retry_after_may_be_a_date() -> None:
    import litellm

    error = litellm.RateLimitError("slow", llm_provider="x", model="m")
    error.litellm_response_headers = {"retry-after": "Fri, 31 Dec 9999 23:59:59 GMT"}
    assert _failure(error).retry_after_s > 1e9
    error.litellm_response_headers = {"retry-after": "soon"}
    assert _failure(error).retry_after_s == 0.0


def test_without_litellm_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"LiteLLM is not installed.*genesys-evolution\[llm\]"):
        LiteLLMClient()


def test_importing_the_gateway_imports_no_litellm() -> None:
    code = "import sys, genesys.llm.gateway, genesys.llm.client; print([m for m in ('litellm', 'openai', 'pydantic') if m in sys.modules])"
    env = {"PATH": os.environ["PATH"]}
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=env)
    assert out.stdout.strip() == "[]"
