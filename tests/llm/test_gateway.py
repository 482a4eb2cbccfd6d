"""Law 25: no session dies of an answer. Law 24: every request is reserved before it is sent and booked once."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from genesys.errors import ConfigError
from genesys.llm.calls import Usage
from genesys.llm.client import CallFailed, Response
from genesys.llm.gateway import Answered, Embedded, Gateway
from genesys.llm.prices import PriceList
from genesys.llm.settings import AgentsConfig, ModelConfig
from genesys.roles.answers import ObserverTurn
from genesys.roles.effects import Ask, Refusal
from genesys.roles.prompt import Message, Prompt
from tests.llm.in_memory import Books, Listed

GOOD = json.dumps({"fidelity": 4, "quality": 3.5, "novelty": 2, "rating": 4, "review": "fine", "suggestions": ""})
A = ModelConfig(name="openai/a", input_usd=2.0, cached_usd=0.5, output_usd=8.0, max_tokens=1000)
B = ModelConfig(name="openai/b", input_usd=1.0, output_usd=1.0, max_tokens=1000, weight=0.0)
PROMPT = Prompt(
    template="observer",
    version="abc",
    messages=(Message(author="system", text="You observe.", stable=True), Message(author="user", text="Look.")),
)
ASK = Ask(role="observer", prompt=PROMPT, answer=ObserverTurn)


class Place:
    """A gateway over books and a client in memory, whose clock stands still."""

    def __init__(
        self, answers: list[Any], models: tuple[ModelConfig, ...] = (A, B), books: Books | None = None
    ) -> None:
        self.agents = AgentsConfig(models={"default": models, "embedding": models[:1]}, n_retries=2)
        self.books, self.client, self.slept_s = books or Books(), Listed(answers), list[float]()
        prices = PriceList.of(self.agents)
        self.gateway = Gateway(self.agents, prices, self.books, self.client, sleep=self._sleep)

    async def _sleep(self, seconds: float) -> None:
        self.slept_s.append(seconds)
        await asyncio.sleep(0)

    async def ask(self, ask: Ask = ASK, *, step: str = "1", seed: int = 3, **further: Any) -> Answered | Refusal:
        return await self.gateway.ask("s1", step, ask, seed=seed, **further)

    @property
    def asked(self) -> list[str]:
        return [sent.model.name for sent in self.client.sent]

    @property
    def ends(self) -> list[str]:
        return [end for end, _ in self.books.ends.values()]


async def test_an_answer_costs_what_its_usage_says() -> None:
    place = Place([GOOD])
    place.client.usage = Usage(n_input=100, n_output=10, n_cached=40)
    answered = await place.ask()
    assert isinstance(answered, Answered) and answered.value.rating == 4.0
    assert (answered.model, answered.n_calls) == ("openai/a", 1)
    assert answered.cost_nano == 60 * 2000 + 40 * 500 + 10 * 8000 == place.books.booked_nano
    call = place.books.calls[0]
    assert (call.role, call.purpose, call.schema, call.prompt_version) == ("observer", "answer", "ObserverTurn", "abc")


async def test_one_repair_turn_tells_what_was_wrong() -> None:
    place = Place(["I think it is good.", GOOD])
    answered = await place.ask()
    assert isinstance(answered, Answered) and answered.n_calls == 2
    assert [call.purpose for call in place.books.calls] == ["answer", "repair"]
    said = [(message.author, message.text) for message in place.client.sent[1].messages[2:]]
    assert said[0] == ("assistant", "I think it is good.")
    assert said[1][0] == "user" and "There is no JSON object in the answer." in said[1][1]


async def test_after_one_repair_every_other_model_is_asked_once() -> None:
    place = Place(["{}", "{}", "nothing"])
    refusal = await place.ask()
    assert place.asked == ["openai/a", "openai/a", "openai/b"]
    assert isinstance(refusal, Refusal) and refusal.cause == "malformed" and refusal.n_calls == 3
    assert refusal.cost_nano == place.books.booked_nano > 0


async def test_a_long_answer_is_not_sent_back_whole_and_an_empty_one_not_empty() -> None:
    place = Place(["x y\n" * 250_000, GOOD])
    await place.ask()
    assert len(place.client.sent[1].messages[2].text) < 10_000
    place = Place(["", GOOD])
    await place.ask()
    assert place.client.sent[1].messages[2].text == "(nothing)"


async def test_an_answer_that_was_cut_off_is_told_to_be_shorter() -> None:
    place = Place([Response(text=GOOD[:30], usage=None, finish_reason="length"), GOOD])
    await place.ask()
    assert "cut off at 1000 tokens, so it must be shorter" in place.client.sent[1].messages[3].text


async def test_a_model_that_declines_is_followed_by_the_next() -> None:
    no = Response(text="I can't.", usage=Usage(n_input=9, n_output=2), finish_reason="refusal")
    place = Place([no, GOOD])
    answered = await place.ask()
    assert isinstance(answered, Answered) and answered.model == "openai/b" and place.ends == ["committed"] * 2
    refusal = await Place([no]).ask()
    assert isinstance(refusal, Refusal) and refusal.cause == "declined" and "openai/a: I can't." in refusal.reason


async def test_rate_limits_are_waited_for_as_long_as_the_endpoint_says() -> None:
    place = Place([CallFailed("rate-limited", "slow down", 7.0), CallFailed("unavailable", "503"), GOOD])
    answered = await place.ask()
    assert isinstance(answered, Answered) and answered.n_calls == 3
    assert 7.0 <= place.slept_s[0] <= 8.0 and 0.5 <= place.slept_s[1] <= 1.5
    assert place.books.held_s == [7.0, 0.0]
    assert answered.cost_nano == place.books.booked_nano  # errors of an endpoint are free


async def test_no_endpoint_holds_a_run_for_a_day() -> None:
    place = Place([CallFailed("rate-limited", "tomorrow", 86_400.0), GOOD])
    await place.ask()
    assert place.books.held_s == [300.0] and place.slept_s[0] <= 301.0


@pytest.mark.parametrize(
    ("cause", "n_asked"), [("unavailable", 3), ("timeout", 2), ("forbidden", 1), ("refused", 1), ("too-long", 1), ("bad-request", 3)]
)  # fmt: skip
async def test_failures_that_stay_lead_to_the_next_model(cause: Any, n_asked: int) -> None:
    place = Place([CallFailed(cause, "why")] * n_asked + [GOOD])
    answered = await place.ask()
    assert isinstance(answered, Answered) and answered.model == "openai/b"
    assert place.asked == ["openai/a"] * n_asked + ["openai/b"]
    assert place.ends == [cause] * n_asked + ["committed"]
    assert answered.cost_nano == place.books.booked_nano


async def test_a_timeout_stays_booked_in_full() -> None:
    place = Place([CallFailed("timeout", "silence")], models=(A,))
    refusal = await place.ask()
    assert isinstance(refusal, Refusal) and refusal.cause == "unavailable"
    assert refusal.cost_nano == sum(call.max_nano for call in place.books.calls) == place.books.booked_nano


async def test_a_lesser_mode_is_tried_where_schemas_are_refused_and_remembered() -> None:
    place = Place([CallFailed("bad-request", "json_schema?"), GOOD], models=(A,))
    await place.ask()
    await place.ask(step="2")
    assert [sent.model.structured for sent in place.client.sent] == ["json_schema", "json_object", "json_object"]
    fixed = Place([CallFailed("bad-request", "?"), GOOD], models=(replace(A, structured="json_schema"),))
    assert isinstance(await fixed.ask(), Refusal)
    assert len(fixed.client.sent) == 1


async def test_asks_that_are_refused_at_the_same_time_lower_the_mode_once() -> None:
    hold = asyncio.Event()

    async def refused_late() -> Any:
        await hold.wait()
        return CallFailed("bad-request", "json_schema?")

    place = Place([refused_late, CallFailed("bad-request", "json_schema?"), GOOD], models=(A,))
    late = asyncio.ensure_future(place.ask())
    while not place.client.sent:
        await asyncio.sleep(0)
    await place.ask(step="2")
    hold.set()
    assert isinstance(await late, Answered)
    modes = [sent.model.structured for sent in place.client.sent]
    assert modes == ["json_schema", "json_schema", "json_object", "json_object"]


async def test_a_bad_request_in_every_mode_changes_no_mode() -> None:
    place = Place([CallFailed("bad-request", "no")] * 3 + [GOOD], models=(A,))
    assert isinstance(await place.ask(), Refusal)
    await place.ask(step="2")
    assert place.client.sent[-1].model.structured == "json_schema"


async def test_a_prompt_that_does_not_fit_is_not_sent() -> None:
    place = Place([GOOD], models=(replace(A, context_tokens=1200), replace(B, context_tokens=1000)))
    refusal = await place.ask(replace(ASK, prompt=PROMPT.reply("x", "word " * 1000)))
    assert isinstance(refusal, Refusal) and refusal.cause == "too-long" and not place.books.calls
    answered = await place.ask(step="2")
    assert isinstance(answered, Answered) and place.client.sent[0].max_tokens < 1000


async def test_the_cap_ends_the_ask() -> None:
    place = Place([GOOD], books=Books(cap_nano=10))
    refusal = await place.ask()
    assert isinstance(refusal, Refusal) and (refusal.cause, refusal.cap) == ("money", "run")
    assert not place.client.sent


IMPOSSIBLE = [
    Usage(n_input=-1, n_output=5),
    Usage(n_input=10**9, n_output=5),
    Usage(n_input=5, n_output=1001),
    Usage(n_input=5, n_output=1, n_cached=6),
]


async def test_money_that_other_calls_hold_is_waited_for() -> None:
    alone = Place([GOOD])
    await alone.ask()
    spent, most = alone.books.booked_nano, alone.books.calls[0].max_nano
    place = Place([GOOD], books=Books(cap_nano=most + 9 * spent))
    answered = await asyncio.gather(*(place.ask(step=str(step)) for step in range(10)))
    assert all(isinstance(answer, Answered) for answer in answered) and place.books.booked_nano == 10 * spent
    assert place.slept_s and isinstance(await place.ask(step="11"), Refusal)


async def test_money_that_never_comes_back_ends_the_wait() -> None:
    other = Place([GOOD])
    await other.ask(step="other")
    place = Place([GOOD], books=Books(cap_nano=20_000_000))
    await place.books.reserve(other.books.calls[0])  # of somebody who died with it
    refusal = await place.ask()
    assert isinstance(refusal, Refusal) and refusal.cause == "money" and 300 <= sum(place.slept_s) < 500


@pytest.mark.parametrize("usage", [None, *IMPOSSIBLE])
async def test_what_cannot_be_is_booked_in_full(usage: Usage | None) -> None:
    place = Place([GOOD])
    place.client.usage = usage
    answered = await place.ask()
    assert isinstance(answered, Answered)
    assert answered.cost_nano == place.books.calls[0].max_nano == place.books.booked_nano


async def test_a_session_taken_up_again_goes_the_same_way_and_pays_nothing() -> None:
    answers = [
        CallFailed("rate-limited", "wait", 5.0),
        "no",
        CallFailed("bad-request", "?"),
        "{}",
        CallFailed("timeout", "?"),
        GOOD,
    ]
    first = Place(answers)
    before = await first.ask()
    again = Place(["never asked"], books=first.books)
    assert await again.ask() == before
    assert not again.client.sent and not again.slept_s
    assert isinstance(before, Answered) and before.n_calls == 6 == len(first.books.calls)


async def test_samples_steps_and_seeds_are_calls_of_their_own() -> None:
    place = Place([GOOD])
    for ask, step, seed in [(ASK, "1", 3), (replace(ASK, sample=1), "1", 3), (ASK, "2", 3), (ASK, "1", 4)]:
        await place.ask(ask, step=step, seed=seed)
    assert len({call.id for call in place.books.calls}) == 4 == len({sent.seed for sent in place.client.sent})


async def test_models_are_drawn_by_weight_and_the_same_for_a_seed() -> None:
    models = (replace(A, weight=3.0), replace(B, weight=1.0))
    place = Place([GOOD], models=models)
    for seed in range(400):
        await place.ask(seed=seed)
    share = Counter(place.asked)["openai/a"] / 400
    assert 0.68 < share < 0.82
    other = Place([GOOD], models=models)
    for seed in range(400):
        await other.ask(seed=seed)
    assert other.asked == place.asked
    turned = Place([GOOD], models=models)
    await turned.ask(weights={"observer": {"openai/a": 0.0, "openai/b": 1.0}})
    assert turned.asked == ["openai/b"]


async def test_a_model_that_came_later_changes_no_draws_of_a_session_with_weights() -> None:
    weights = {"observer": {"openai/a": 2.0, "openai/b": 1.0}}
    before = Place([GOOD])
    after = Place([GOOD], models=(ModelConfig(name="openai/new", input_usd=1.0, output_usd=1.0), A, B))
    for place in (before, after):
        for seed in range(30):
            await place.ask(seed=seed, weights=weights)
    assert after.asked == before.asked and set(before.asked) == {"openai/a", "openai/b"}


@pytest.mark.parametrize("n_steps", range(1, 12))
async def test_whenever_it_is_cancelled_each_reservation_ends_once(n_steps: int) -> None:
    place = Place([GOOD], books=Books(delay_s=0.1, slow_s=0.0))
    asking = asyncio.ensure_future(place.ask())
    for _ in range(n_steps):
        await asyncio.sleep(0)
    asking.cancel()
    await asyncio.gather(asking, return_exceptions=True)
    for _ in range(20):
        await asyncio.sleep(0)
    assert place.books.open_tokens == []
    assert place.ends in ([], ["unavailable"], ["cancelled"], ["committed"])
    if place.client.sent:  # a call on its way is never free
        assert place.ends != ["unavailable"]
    assert isinstance(await place.ask(), Answered) and set(place.asked) == {"openai/a"}


async def test_a_fault_of_ours_comes_out_and_is_booked_in_full() -> None:
    async def broken() -> Any:
        raise RuntimeError("ours")

    place = Place([broken])
    with pytest.raises(RuntimeError, match="ours"):
        await place.ask()
    assert place.ends == ["timeout"]


async def test_embeddings_are_booked_and_remembered() -> None:
    place = Place([CallFailed("rate-limited", "wait")])
    embedded = await place.gateway.embed("s1", "4", ["one", "three"])
    assert isinstance(embedded, Embedded) and [vector[0] for vector in embedded.vectors] == [3.0, 5.0]
    assert embedded.cost_nano == 7 * 2000 == place.books.booked_nano
    assert [call.purpose for call in place.books.calls] == ["embedding"] * 2
    again = Place([CallFailed("forbidden", "never asked")], books=place.books)
    assert await again.gateway.embed("s1", "4", ["one", "three"]) == embedded
    refused = await again.gateway.embed("s1", "5", ["one"])
    assert isinstance(refused, Refusal) and refused.cause == "unavailable"


def test_a_model_without_a_price_in_the_run_is_refused() -> None:
    agents = AgentsConfig(models={"default": (A, B)})
    with pytest.raises(ConfigError, match=r"Cannot price 'openai/b'.*expected one of openai/a"):
        Gateway(agents, PriceList.of_models([A]), Books(), Listed([GOOD]))


async def test_a_role_without_models_is_the_users_mistake() -> None:
    place = Place([GOOD])
    gateway = Gateway(AgentsConfig(models={"coder": (A,)}), PriceList.of_models([A]), place.books, place.client)
    with pytest.raises(ConfigError, match=r"agents.models has no models for it.*Add observer or default"):
        await gateway.ask("s", "1", ASK, seed=0)


FAILURES = st.sampled_from(
    ["rate-limited", "unavailable", "timeout", "refused", "forbidden", "too-long", "bad-request"]
)
USAGES = st.one_of(
    st.none(),
    st.builds(Usage, n_input=st.integers(-5, 3000), n_output=st.integers(-5, 1500), n_cached=st.integers(-5, 3000)),
)
ANSWERS = st.one_of(
    st.sampled_from([GOOD, "", "{}", "I cannot help with that.", f"```json\n{GOOD}\n```"]).flatmap(
        lambda text: st.builds(Response, text=st.just(text), usage=USAGES, finish_reason=st.sampled_from(["stop", "length", "refusal"]))
    ),
    FAILURES.map(lambda cause: CallFailed(cause, "why")),
)  # fmt: skip


@settings(max_examples=150, deadline=None)
@given(answers=st.lists(ANSWERS, min_size=1, max_size=12), cap=st.one_of(st.none(), st.integers(0, 60_000_000)))
async def test_whatever_is_answered_the_outcome_is_typed_the_books_exact_and_the_way_repeats(
    answers: list[Any], cap: int | None
) -> None:
    place = Place(answers, books=Books(cap_nano=cap))
    outcome = await place.ask()
    assert isinstance(outcome, Answered | Refusal)
    assert place.books.open_tokens == [] and len(place.client.sent) <= 20
    assert outcome.cost_nano == place.books.booked_nano and outcome.n_calls == len(place.books.calls)
    assert cap is None or place.books.booked_nano <= cap
    if isinstance(outcome, Answered):
        assert isinstance(outcome.value, ObserverTurn)
    again = Place(["never"], books=replace(place.books, cap_nano=-1))
    assert await again.ask() == outcome or (isinstance(outcome, Refusal) and outcome.cause == "money")
    assert not again.client.sent
