"""A language model that follows a script, served over real HTTP: for tests, and to try Genesys without a key.

    python -m genesys.testing.scripted_model --port 8123 --p-bad-code 0.2

speaks OpenAI's protocol (`/v1/chat/completions`, `/v1/embeddings`, `/v1/models`) on loopback, and prints the lines of a
configuration that point a run at it. Its answers are computed from the request: units that the checker passes, ratings above
the bar, plans for the slots that are open; and, at the rates that `Script` gives, answers of every bad kind and errors of the
endpoint. It keeps books of its own, as a provider does: what it charged is for it to say (`/charged`).

It does not design: what it writes is the library's, a little changed.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import json
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, fields
from random import Random
from typing import Any, Self

from aiohttp import web

from genesys.testing._answers import Rates, answer, spoil
from genesys.testing._answers.protocol import Prompted, embedding, envelope, n_tokens, refusal, reported

_MAX_BODY = 64 * 2**20


@dataclass(frozen=True, slots=True, kw_only=True)
class Script(Rates):
    """How the model behaves. Equal requests in equal order get equal answers.

    Attributes:
        p_malformed: The answer is spoilt: cut, in fences, of other types, huge, empty.
        p_refusal: The model declines.
        p_rate_limited: 429, with a Retry-After of `retry_after_s`. Free, as is the next.
        p_server_error: 500, 502 or 503.
        p_dropped: The connection ends without an answer, which in half of the cases is charged all the same.
        p_no_usage: The answer does not say what it cost.
        p_slow: The answer takes `slow_s` longer.
        latency_s, latency_spread: Seconds an answer takes, and the share by which they vary to either side.
        modes: Forms of `response_format` it knows: `json_schema`, `json_object`, `text`.
        mode_status: With which it answers the others.
        key: What a client must bear; "" for anything.
        input_usd, cached_usd, output_usd: Dollars for a million tokens. A token is four bytes; a first message that it saw
            before is cached.
    """

    seed: int = 0
    p_malformed: float = 0.0
    p_refusal: float = 0.0
    p_rate_limited: float = 0.0
    p_server_error: float = 0.0
    p_dropped: float = 0.0
    p_no_usage: float = 0.0
    p_slow: float = 0.0
    retry_after_s: float = 0.1
    slow_s: float = 1.0
    latency_s: float = 0.0
    latency_spread: float = 0.2
    modes: tuple[str, ...] = ("json_schema", "json_object", "text")
    mode_status: int = 400
    key: str = ""
    input_usd: float = 1.0
    cached_usd: float = 0.1
    output_usd: float = 4.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """One request and what came of it.

    Attributes:
        outcome: `answered`, `malformed`, `refusal`, `cut`, `rate-limited`, `server-error`, `dropped`, `refused` or `embedded`.
        nano: What it was charged, in nano-dollars.
        at: When it came, on the monotonic clock.
        seconds: From the whole request to the answer's first byte.
    """

    outcome: str
    form: str
    body: Mapping[str, Any]
    n_input: int = 0
    n_cached: int = 0
    n_output: int = 0
    nano: int = 0
    at: float = field(default_factory=time.monotonic)
    seconds: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Charged:
    """The server's own count since it started; tokens and nano-dollars of the requests that it charged."""

    n_requests: int
    n_charged: int
    n_input: int
    n_cached: int
    n_output: int
    nano: int


class ScriptedModel:
    """The server, in a thread of its own; ends with the `with` block.

    Args:
        port: 0 for any that is free.
        keep: Requests kept in `served`, the latest.

    Attributes:
        open_forms: The forms of the answers that are under way.
    """

    def __init__(self, script: Script | None = None, *, port: int = 0, keep: int = 100_000) -> None:
        self.script = script or Script()
        self.served: deque[Served] = deque(maxlen=keep)
        self.url = ""
        self._port = port
        self._sums: Counter[str] = Counter()
        self._times: Counter[str] = Counter()
        self._prefixes: set[str] = set()
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._end: asyncio.Event | None = None
        self.open_forms: list[str] = []
        self._place_s, self._last = 0.0, time.monotonic()

    def __enter__(self) -> Self:
        ready = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self.serve(ready.set)), daemon=True)
        self._thread.start()
        if not ready.wait(60):
            raise TimeoutError("Cannot start the scripted model: it did not listen within 60 s.")
        return self

    def __exit__(self, *_: object) -> None:
        if self._loop is not None and self._end is not None and self._thread is not None:
            self._loop.call_soon_threadsafe(self._end.set)
            self._thread.join(60)

    @property
    def charged(self) -> Charged:
        return Charged(**{column.name: self._sums[column.name] for column in fields(Charged)})

    @property
    def place_seconds(self) -> float:
        """Seconds that answers were under way, summed over all of them, since the start."""
        self._count_places()
        return self._place_s

    async def serve(self, ready: Callable[[], None]) -> None:
        """Listen, say so, and serve until the end.

        Raises:
            OSError: The port is in use.
        """
        self._loop, self._end = asyncio.get_running_loop(), asyncio.Event()
        app = web.Application(client_max_size=_MAX_BODY)
        app.add_routes(
            [
                web.post("/v1/chat/completions", self._complete),
                web.post("/v1/embeddings", self._embed),
                web.get("/v1/models", self._models),
                web.get("/health", self._health),
                web.get("/charged", self._charged),
            ]
        )
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.5)
        await runner.setup()
        try:
            site = web.TCPSite(runner, "127.0.0.1", self._port)
            await site.start()
            self.url = f"http://127.0.0.1:{runner.addresses[0][1]}/v1"
            ready()
            await self._end.wait()
        finally:
            await runner.cleanup()

    # --- routes --------------------------------------------------------------------------------------------

    async def _models(self, _: web.Request) -> web.Response:
        return web.json_response({"object": "list", "data": [{"id": "scripted", "object": "model"}]})

    async def _health(self, _: web.Request) -> web.Response:
        return web.json_response({"status": "ok"})

    async def _charged(self, _: web.Request) -> web.Response:
        return web.json_response(asdict(self.charged) | {"place_seconds": self.place_seconds, "at": time.monotonic()})

    async def _complete(self, request: web.Request) -> web.StreamResponse:
        raw, started = await request.read(), time.monotonic()
        if complaint := self._complaint(request, raw):
            return complaint
        body, script, rng = json.loads(raw), self.script, self._random(raw)
        prompt = Prompted.of(body)
        if error := self._error(prompt, body, rng):
            return error
        is_dropped, is_charged = rng.random() < script.p_dropped, rng.random() < 0.5
        message, outcome, finish = self._message(prompt, rng)
        usage = self._usage(prompt, message)
        if not is_dropped or is_charged:
            self._book(usage)
        delay_s = script.latency_s * rng.uniform(1 - script.latency_spread, 1 + script.latency_spread)
        with self._under_way(prompt.form):
            await asyncio.sleep(delay_s + (script.slow_s if rng.random() < script.p_slow else 0.0))
        outcome = "dropped" if is_dropped else outcome
        charged = usage | {"nano": usage["nano"] if not is_dropped or is_charged else 0}
        seconds = time.monotonic() - started
        self.served.append(Served(outcome=outcome, form=prompt.form, body=body, at=started, seconds=seconds, **charged))
        if is_dropped and request.transport is not None:
            request.transport.abort()
        shown = {} if rng.random() < script.p_no_usage else {"usage": reported(usage)}
        choice = {"index": 0, "message": message, "finish_reason": finish}
        return web.json_response(envelope("chat.completion", body) | {"choices": [choice]} | shown)

    async def _embed(self, request: web.Request) -> web.StreamResponse:
        raw = await request.read()
        if complaint := self._complaint(request, raw):
            return complaint
        body = json.loads(raw)
        texts = [body["input"]] if isinstance(body["input"], str) else body["input"]
        n_input = sum(n_tokens(text) for text in texts)
        usage = {"n_input": n_input, "n_cached": 0, "n_output": 0, "nano": n_input * _nano(self.script.input_usd)}
        self._book(usage)
        self.served.append(Served(outcome="embedded", form="", body=body, **usage))
        data = [{"object": "embedding", "index": i, "embedding": embedding(text)} for i, text in enumerate(texts)]
        return web.json_response(envelope("list", body) | {"data": data, "usage": reported(usage)})

    def _error(self, prompt: Prompted, body: Mapping[str, Any], rng: Random) -> web.Response | None:
        """An error instead of an answer, where the script has one here."""
        script = self.script
        if prompt.mode not in script.modes:
            return self._refuse(script.mode_status, body, f"response_format {prompt.mode!r} is not supported")
        if rng.random() < script.p_rate_limited:
            wait = {"Retry-After": f"{script.retry_after_s:g}"}
            return self._refuse(429, body, "Rate limit reached", outcome="rate-limited", headers=wait)
        if rng.random() < script.p_server_error:
            return self._refuse(rng.choice((500, 502, 503)), body, "The server had an error", outcome="server-error")
        return None

    # --- answers and books ---------------------------------------------------------------------------------

    def _message(self, prompt: Prompted, rng: Random) -> tuple[dict[str, Any], str, str]:
        """The message, its outcome, and why it ends."""
        if rng.random() < self.script.p_refusal:
            return refusal(rng)
        text = answer(prompt.form, prompt.schema, prompt.task, is_first=prompt.is_first, rates=self.script, rng=rng)
        outcome = "answered"
        if rng.random() < self.script.p_malformed:
            text, outcome = spoil(text, rng), "malformed"
        whole = text.encode("utf-8", "replace")
        if len(whole) > 4 * prompt.max_tokens:
            cut = whole[: 4 * prompt.max_tokens].decode("utf-8", "ignore")
            return {"role": "assistant", "content": cut}, "cut", "length"
        return {"role": "assistant", "content": whole.decode()}, outcome, "stop"

    @contextmanager
    def _under_way(self, form: str) -> Iterator[None]:
        self._count_places()
        self.open_forms.append(form)
        try:
            yield
        finally:
            self._count_places()
            self.open_forms.remove(form)

    def _count_places(self) -> None:
        """Add the time since the last change of what is under way."""
        now = time.monotonic()
        self._place_s += len(self.open_forms) * (now - self._last)
        self._last = now

    def _usage(self, prompt: Prompted, message: Mapping[str, Any]) -> dict[str, int]:
        script = self.script
        n_output = n_tokens(message.get("content") or message.get("refusal") or "")
        n_cached = n_tokens(prompt.prefix) if prompt.prefix in self._prefixes else 0
        self._prefixes.add(prompt.prefix)
        nano = (prompt.n_input - n_cached) * _nano(script.input_usd) + n_cached * _nano(script.cached_usd)
        nano += n_output * _nano(script.output_usd)
        return {"n_input": prompt.n_input, "n_cached": n_cached, "n_output": n_output, "nano": nano}

    def _book(self, usage: Mapping[str, int]) -> None:
        self._sums["n_charged"] += 1
        self._sums.update(usage)

    def _complaint(self, request: web.Request, raw: bytes) -> web.Response | None:
        self._sums["n_requests"] += 1
        if self.script.key and request.headers.get("Authorization") != f"Bearer {self.script.key}":
            return self._refuse(401, {}, "Incorrect API key provided")
        try:
            body = json.loads(raw)
        except ValueError:
            return self._refuse(400, {}, "The body is no JSON")
        if not isinstance(body, dict) or not (body.get("messages") or body.get("input")) or body.get("stream"):
            return self._refuse(400, {}, "expected `messages` or `input`, and no stream")
        return None

    def _refuse(
        self, status: int, body: Mapping[str, Any], reason: str, *, outcome: str = "refused", headers: Any = None
    ) -> web.Response:
        self.served.append(Served(outcome=outcome, form="", body=body))
        error = {"message": reason, "type": outcome, "param": None, "code": status}
        return web.json_response({"error": error}, status=status, headers=headers)

    def _random(self, raw: bytes) -> Random:
        digest = hashlib.sha256(raw).hexdigest()
        self._times[digest] += 1
        return Random(f"{self.script.seed}/{digest}/{self._times[digest]}")


def _nano(usd_per_million: float) -> int:
    return round(usd_per_million * 1000)


def settings_yaml(url: str, script: Script) -> str:
    """The part of a configuration that points a run at a scripted model."""
    return f"""designers:
  kinds: {{rules: 0, llm: 1}}
agents:
  models:
    default:
      - name: openai/scripted
        api_base: {url}
        input_usd: {script.input_usd}
        cached_usd: {script.cached_usd}
        output_usd: {script.output_usd}
        context_tokens: 200000
    embedding:
      - name: openai/scripted-embeddings
        api_base: {url}
        input_usd: {script.input_usd}
        output_usd: 0
  caps: {{run: 10.0}}
"""


def main() -> None:
    """Serve until interrupted."""
    parser = argparse.ArgumentParser(prog="python -m genesys.testing.scripted_model", description=Script.__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)  # fmt: skip
    parser.add_argument("--port", type=int, default=8123, help="0 for any that is free")
    for knob in fields(Script):
        flag, default = f"--{knob.name.replace('_', '-')}", knob.default
        if isinstance(default, tuple):
            parser.add_argument(flag, nargs="+", default=default)
        else:
            parser.add_argument(flag, type=type(default), default=default)
    given = vars(parser.parse_args())
    port = given.pop("port")
    script = Script(**given | {"modes": tuple(given["modes"])})
    server = ScriptedModel(script, port=port, keep=0)
    try:
        asyncio.run(server.serve(lambda: print(settings_yaml(server.url, script), flush=True)))
    except KeyboardInterrupt:
        print(json.dumps(asdict(server.charged)))
    except OSError as error:
        raise SystemExit(f"Cannot serve on port {port}: {error.strerror}. Name another with --port, or 0.") from None


if __name__ == "__main__":
    main()
