"""Gateway, LiteLLM and call book against a real server: whatever it does, the outcome is typed and the books are right."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from genesys.llm import sending
from genesys.llm.book import CallBook
from genesys.llm.client import LiteLLMClient
from genesys.llm.gateway import Answered, Gateway
from genesys.llm.local_treasury import LocalTreasury
from genesys.llm.prices import PriceList
from genesys.llm.settings import AgentsConfig, ModelConfig, MoneyCaps
from genesys.roles.answers import ObserverTurn
from genesys.roles.brief import SessionOutcome
from genesys.roles.effects import Ask, Refusal
from genesys.roles.prompt import Message, Prompt
from genesys.testing.scripted_model import Script, ScriptedModel
from tests.llm.sessions import MODES, brief, run_session

QUESTION = Prompt(
    template="observer",
    version="0",
    messages=(
        Message(author="system", text="You observe. " * 20, stable=True),
        Message(author="user", text="The bar is 3.0 of 5. What do you say to the unit?"),
    ),
)


@dataclass(frozen=True)
class Place:
    """A gateway with books of its own, in front of servers."""

    gateway: Gateway
    treasury: LocalTreasury

    @property
    def book(self) -> CallBook:
        return self.treasury.book

    async def ask(self, sample: int = 0, session: str = "s", prompt: Prompt = QUESTION) -> Answered | Refusal:
        question = Ask(role="observer", prompt=prompt, answer=ObserverTurn, sample=sample)
        return await self.gateway.ask(session, str(sample), question, seed=1)

    async def ask_many(self, n: int) -> list[Answered | Refusal]:
        return list(await asyncio.gather(*(self.ask(sample) for sample in range(n))))

    @property
    def n_purposes(self) -> dict[str, int]:
        return {name: spent.n_calls for name, spent in self.book.totals().purposes.items()}


Open = Callable[..., Any]


@pytest.fixture
def open_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Open:
    """Opens a gateway in front of some servers, with the same caps and settings for each."""
    monkeypatch.setattr(sending, "_BACKOFF_S", 0.01)

    @asynccontextmanager
    async def opened(
        *servers: ScriptedModel, caps: MoneyCaps | None = None, n_retries: int = 4, **settings: Any
    ) -> AsyncIterator[Place]:
        models = tuple(model_of(server, f"openai/scripted-{i}", **settings) for i, server in enumerate(servers))
        agents = AgentsConfig(
            models={"default": models, "embedding": models[:1]}, caps=caps or MoneyCaps(run=1000.0), n_retries=n_retries
        )
        book, client = CallBook(tmp_path / "calls.sqlite", agents.caps), LiteLLMClient()
        treasury = LocalTreasury(book)
        try:
            yield Place(Gateway(agents, PriceList.of(agents), treasury, client), treasury)
        finally:
            await client.close()
            book.close()

    return opened


def model_of(server: ScriptedModel, name: str, **settings: Any) -> ModelConfig:
    script = server.script
    prices = {"input_usd": script.input_usd, "cached_usd": script.cached_usd, "output_usd": script.output_usd}
    return ModelConfig(name=name, api_base=server.url, context_tokens=200_000, **prices | settings)


def charged(*servers: ScriptedModel) -> int:
    return sum(server.charged.nano for server in servers)


@pytest.mark.parametrize(
    ("mode", "status"), [("json_schema", 400), ("json_object", 400), ("json_object", 500), ("text", 422)]
)
async def test_auto_finds_a_mode_and_keeps_it(open_place: Open, mode: str, status: int) -> None:
    with ScriptedModel(Script(modes=(mode,), mode_status=status)) as server:
        async with open_place(server) as place:
            answers = [await place.ask(sample) for sample in range(4)]
            assert all(isinstance(answer, Answered) and answer.value.rating >= 3 for answer in answers)
            outcomes = Counter(served.outcome for served in server.served)
            assert outcomes == Counter(
                answered=4,
                **{"refused": ["json_schema", "json_object", "text"].index(mode)} if mode != "json_schema" else {},
            )
            assert place.book.totals().run.booked_nano == charged(server) > 0


@pytest.mark.parametrize(("structured", "mode"), [("json_object", "json_object"), ("none", "text")])
async def test_a_mode_that_is_set_is_used(open_place: Open, structured: str, mode: str) -> None:
    with ScriptedModel() as server:
        async with open_place(server, structured=structured) as place:
            assert isinstance(await place.ask(), Answered)
    (served,) = server.served
    assert (served.body.get("response_format") or {"type": "text"})["type"] == mode


async def test_one_repair_then_the_next_model_then_a_refusal(open_place: Open) -> None:
    with ScriptedModel(Script(p_malformed=1.0, seed=8)) as bad:
        async with open_place(bad) as alone:
            answers = await alone.ask_many(30)
            refused = [answer for answer in answers if isinstance(answer, Refusal)]
            assert len(refused) >= 8 and {refusal.cause for refusal in refused} <= {"malformed", "declined"}
            assert 8 <= alone.n_purposes["repair"] <= 30
            assert alone.book.totals().run.booked_nano == charged(bad)
    with ScriptedModel(Script(p_malformed=1.0, seed=8)) as bad, ScriptedModel() as good:
        async with open_place(bad, good) as place:
            answers = [await place.ask(sample, session="t") for sample in range(30)]
    assert all(isinstance(answer, Answered) for answer in answers)
    assert any(answer.n_calls == 3 and answer.model == "openai/scripted-1" for answer in answers)


async def test_a_repair_is_told_what_is_wrong(open_place: Open) -> None:
    with ScriptedModel(Script(p_malformed=0.5, seed=3)) as server:
        async with open_place(server) as place:
            answers = await place.ask_many(40)
            repairs = place.n_purposes["repair"]
            assert place.book.totals().run.booked_nano == charged(server)
    assert sum(isinstance(answer, Answered) for answer in answers) > 25 and repairs > 5
    told = [served.body["messages"][-1]["content"] for served in server.served if len(served.body["messages"]) > 2]
    assert len(told) == repairs and all("cannot be used" in text for text in told)


async def test_a_model_that_declines_is_not_asked_twice(open_place: Open) -> None:
    with ScriptedModel(Script(p_refusal=1.0)) as server:
        async with open_place(server) as place:
            answers = await place.ask_many(9)
            assert place.book.totals().run.booked_nano == charged(server) > 0
    assert {answer.cause for answer in answers} <= {"declined", "malformed"}
    assert "declined" in {answer.cause for answer in answers}


async def test_retry_after_is_honoured(open_place: Open) -> None:
    with ScriptedModel(Script(p_rate_limited=0.6, retry_after_s=0.3, seed=1)) as server:
        async with open_place(server, n_retries=20) as place:
            assert isinstance(await place.ask(), Answered)
            assert place.book.totals().run.booked_nano == charged(server)
    times = [served.at for served in server.served]
    assert len(times) > 1, "the seed gives at least one rate limit"
    assert all(later - earlier >= 0.3 for earlier, later in pairwise(times))


async def test_an_endpoint_that_is_away_costs_nothing(open_place: Open) -> None:
    with ScriptedModel(Script(p_server_error=0.5, seed=5)) as server:
        async with open_place(server, n_retries=10) as place:
            answers = await place.ask_many(10)
            assert all(isinstance(answer, Answered) for answer in answers)
            assert place.book.totals().run.n_failed > 0
            assert place.book.totals().run.booked_nano == charged(server)
    async with open_place(server, n_retries=1) as place:  # it has ended
        gone = await place.ask(99)
        assert isinstance(gone, Refusal) and gone.cause == "unavailable"


async def test_what_nobody_knows_is_booked_in_full(open_place: Open) -> None:
    with ScriptedModel(Script(p_dropped=1.0, seed=1)) as server:
        async with open_place(server) as place:
            answers = await place.ask_many(8)
            run = place.book.totals().run
    assert all(isinstance(answer, Refusal) and answer.cause == "unavailable" for answer in answers)
    assert run.unsure_nano == run.booked_nano > charged(server) > 0
    assert server.charged.n_requests <= 16, "a call that may be charged is tried once more at most"


async def test_a_slow_answer_is_booked_in_full(open_place: Open) -> None:
    with ScriptedModel(Script(latency_s=30.0)) as server:
        async with open_place(server, timeout_s=0.5) as place:
            answer = await place.ask()
            assert isinstance(answer, Refusal) and answer.cause == "unavailable"
            assert place.book.totals().run.unsure_nano > charged(server) > 0


async def test_usage_that_is_not_told_is_booked_in_full(open_place: Open) -> None:
    with ScriptedModel(Script(p_no_usage=1.0)) as server:
        async with open_place(server) as place:
            assert isinstance(await place.ask(), Answered)
            assert place.book.totals().run.booked_nano > charged(server) > 0


async def test_the_key_is_read_by_its_name_and_kept_nowhere(
    open_place: Open, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("A_KEY", "sk-planted-secret")
    with ScriptedModel(Script(key="sk-planted-secret")) as server, ScriptedModel(Script(key="another")) as strict:
        async with open_place(server, api_key_env="A_KEY") as place:
            assert isinstance(await place.ask(), Answered)
        async with open_place(strict, api_key_env="A_KEY") as place:
            refused = await place.ask(1)
            assert isinstance(refused, Refusal) and refused.cause == "unavailable"
        assert charged(strict) == 0
    monkeypatch.delenv("A_KEY")
    async with open_place(server, api_key_env="A_KEY") as place:
        missing = await place.ask(2)
        assert isinstance(missing, Refusal) and "A_KEY" in missing.reason
    written = b"".join(file.read_bytes() for file in tmp_path.iterdir())
    assert b"planted-secret" not in written + caplog.text.encode() + repr(refused).encode()


async def test_embeddings_are_booked(open_place: Open) -> None:
    with ScriptedModel() as server:
        async with open_place(server) as place:
            embedded = await place.gateway.embed("s", "e", ["a gate on a mixer", "a gate on a mixer", "norms"])
            again = await place.gateway.embed("s", "e", ["a gate on a mixer", "a gate on a mixer", "norms"])
            assert place.book.totals().run.booked_nano == charged(server) > 0
    assert server.charged.n_requests == 1 and embedded == again
    a, b, c = embedded.vectors
    assert a == b != c


async def test_concurrent_sessions_pay_what_the_server_charges(open_place: Open) -> None:
    script = Script(
        p_malformed=0.1, p_refusal=0.02, p_rate_limited=0.1, retry_after_s=0.02, p_server_error=0.05,
        p_bad_code=0.2, p_low_rating=0.2, latency_s=0.01, seed=6,
    )  # fmt: skip
    with ScriptedModel(script) as server:
        async with open_place(server, n_retries=10) as place:
            tasks = [brief(f"s{i}", MODES[i % 3], seed=i) for i in range(12)]
            done = await asyncio.gather(*(run_session(task, place.gateway, place.treasury) for task in tasks))
            totals = place.book.totals()
    assert totals.run.booked_nano == charged(server)
    assert totals.run.n_input == server.charged.n_input and totals.run.n_output == server.charged.n_output
    assert all(isinstance(conducted.outcome, SessionOutcome) for conducted in done)
    assert sum(conducted.outcome.tree is not None for conducted in done) >= 4
    assert {served.outcome for served in server.served} >= {"answered", "malformed", "rate-limited", "server-error"}


async def test_a_cap_is_never_passed(open_place: Open) -> None:
    script = Script(p_dropped=0.1, p_malformed=0.1, p_no_usage=0.1, latency_s=0.01, seed=7)
    with ScriptedModel(script) as server:
        async with open_place(server, caps=MoneyCaps(run=0.5, session=0.2), max_tokens=2000) as place:
            tasks = [brief(f"s{i}", MODES[i % 3], seed=i) for i in range(9)]
            done = await asyncio.gather(*(run_session(task, place.gateway, place.treasury) for task in tasks))
            totals = place.book.totals()
    assert any(conducted.outcome.cause == "money" for conducted in done)
    assert charged(server) <= totals.run.booked_nano <= 500_000_000
    assert all(spent.booked_nano <= 200_000_000 for spent in totals.sessions.values())


async def test_a_session_that_is_taken_up_again_pays_nothing_twice(open_place: Open) -> None:
    task = brief("s", "scratch", seed=3)

    async def run(place: Place) -> Awaitable[Any]:
        return await run_session(task, place.gateway, place.treasury)

    with ScriptedModel(Script(p_malformed=0.2, p_server_error=0.2, seed=9)) as server:
        async with open_place(server) as place:
            first = await run(place)
        paid = server.charged
        async with open_place(server) as place:
            again = await run(place)
            booked = place.book.totals().run.booked_nano
    assert again == first and server.charged == paid and booked == paid.nano
