"""What every treasury must do."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any, Protocol

import pytest

from genesys.errors import FencedError
from genesys.llm.calls import (
    Call,
    Denied,
    Granted,
    Known,
    KnownFailure,
    MoneyError,
    Remembered,
    StaleError,
    Treasury,
    Usage,
)
from genesys.llm.settings import MoneyCaps

CENT = 10_000_000  # nano-dollars
USAGE = Usage(n_input=10, n_output=5, n_cached=2, n_written=3)


class OpenTreasury(Protocol):
    def __call__(self, caps: MoneyCaps, requests_per_minute: float | None = None) -> Treasury:
        """Take the same books over under these caps; the limit is that of the model `m`."""
        ...


def call(name: str = "a", max_nano: int = CENT, *, session: str = "s", role: str = "coder", model: str = "m") -> Call:
    """A call that may cost a cent, at a step of its own."""
    return Call(
        id=name, session=session, step=f"of {name}", attempt=0, role=role, purpose="answer", model=model, prompt_version="v1",
        schema="CoderTurn", seed=1 << 70, n_input_bound=100, n_output_bound=50, max_nano=max_nano,
    )  # fmt: skip


async def granted(treasury: Treasury, asked: Call) -> int:
    """Reserve a call that there is room for; gives its token."""
    answer = await treasury.reserve(asked)
    assert isinstance(answer, Granted), answer
    return answer.token


class TreasuryTestCase:
    """Conformance of a treasury. Override the fixture."""

    @pytest.fixture
    def opener(self) -> OpenTreasury:
        """Takes the same books over at each call."""
        raise NotImplementedError("override this fixture with a function that opens your treasury under some caps")

    @pytest.fixture
    def opened(self, opener: OpenTreasury) -> Callable[..., None]:
        """Opens the treasury under caps given in USD by name, and runs a coroutine function over it."""

        def run(
            work: Callable[[Treasury], Awaitable[Any]], requests_per_minute: float | None = None, **caps: Any
        ) -> None:
            async def alone() -> None:
                await asyncio.wait_for(work(opener(MoneyCaps(**caps), requests_per_minute)), 120)

            asyncio.run(alone())

        return run

    def test_what_was_answered_is_known(self, opened: Callable[..., None]) -> None:
        answer = {"text": 'a "quoted" \ud800 text', "parts": [1, None, 0.1]}

        async def first(treasury: Treasury) -> None:
            token = await granted(treasury, call())
            await treasury.commit(token, answer, USAGE, 7)
            assert await treasury.reserve(call()) == Known(response=answer, usage=USAGE, cost_nano=7)

        async def later(treasury: Treasury) -> None:
            assert await treasury.reserve(call()) == Known(response=answer, usage=USAGE, cost_nano=7)

        opened(first)
        opened(later)

    @pytest.mark.parametrize("cause", ["rate-limited", "unavailable", "refused", "too-long", "bad-request"])
    def test_what_failed_is_known_and_free(self, opened: Callable[..., None], cause: Any) -> None:
        async def first(treasury: Treasury) -> None:
            await treasury.fail(await granted(treasury, call()), cause, "why \ud800" + "y" * 10**6)
            assert isinstance(await treasury.reserve(call("b")), Granted)  # there is room for one at a time

        async def later(treasury: Treasury) -> None:
            known = await treasury.reserve(call())
            assert isinstance(known, KnownFailure) and known.cause == cause and known.reason.startswith("why")

        opened(first, run=0.01)
        opened(later, run=0.02)

    def test_a_timeout_is_known_and_booked_in_full(self, opened: Callable[..., None]) -> None:
        async def work(treasury: Treasury) -> None:
            await treasury.fail(await granted(treasury, call()), "timeout", "600 s")
            assert await treasury.reserve(call()) == KnownFailure(cause="timeout", reason="600 s")
            assert isinstance(await treasury.reserve(call("b")), Denied)

        opened(work, run=0.019_999_999)

    @pytest.mark.parametrize(
        ("cap", "others"),
        [
            ("call", []),
            ("session", [call("b", role="judge")]),
            ("role", [call("b", session="t")]),
            ("day", [call("b", session="t", role="judge")]),
            ("run", [call("b", session="t", role="judge")]),
        ],
    )
    def test_a_cap_is_met_and_never_passed_by_a_nano_dollar(
        self, opened: Callable[..., None], cap: str, others: list[Call]
    ) -> None:
        limit = 0.01 * (1 + len(others))
        caps = {"roles": {"coder": limit}} if cap == "role" else {cap: limit}

        async def work(treasury: Treasury) -> None:
            for other in others:
                await treasury.commit(await granted(treasury, other), {}, USAGE, other.max_nano)
            denied = await treasury.reserve(call("more", CENT + 1))
            assert isinstance(denied, Denied) and denied.cap == cap
            assert f"Raise agents.caps.{'roles.coder' if cap == 'role' else cap}." in denied.reason
            await granted(treasury, call("fits"))
            if others:
                assert isinstance(await treasury.reserve(call("full", 1)), Denied)
            await granted(treasury, call("free", 0))

        opened(work, **caps)

    def test_nobody_waits_for_one_cap_while_another_is_full_for_good(self, opened: Callable[..., None]) -> None:
        async def work(treasury: Treasury) -> None:
            await treasury.commit(await granted(treasury, call("spent", session="t")), {}, USAGE, CENT * 8 // 10)
            await granted(treasury, call("on its way", CENT // 2))
            waits = await treasury.reserve(call("b", CENT * 6 // 10))
            assert isinstance(waits, Denied) and (waits.cap, waits.may_pass) == ("session", True)
            never = await treasury.reserve(call("c", CENT * 3 // 4))
            assert isinstance(never, Denied) and (never.cap, never.may_pass) == ("run", False)

        opened(work, session=0.01, run=0.015)

    def test_what_a_call_did_not_cost_may_be_spent(self, opened: Callable[..., None]) -> None:
        async def work(treasury: Treasury) -> None:
            token = await granted(treasury, call())
            assert isinstance(await treasury.reserve(call("b", 2)), Denied)
            await treasury.commit(token, {}, USAGE, CENT - 2)
            await granted(treasury, call("b", 2))

        opened(work, session=0.01)

    def test_a_call_ends_once(self, opened: Callable[..., None]) -> None:
        async def work(treasury: Treasury) -> None:
            token = await granted(treasury, call())
            for cost, text in ((5, "first"), (6, "second")):
                await treasury.commit(token, {"text": text}, USAGE, cost)
            await treasury.fail(token, "timeout", "late")
            assert await treasury.reserve(call()) == Known(response={"text": "first"}, usage=USAGE, cost_nano=5)
            await granted(treasury, call("b", CENT - 5))
            token = await granted(treasury, call("c", 0))
            await treasury.fail(token, "refused", "first")
            await treasury.commit(token, {}, USAGE, 0)
            assert await treasury.reserve(call("c", 0)) == KnownFailure(cause="refused", reason="first")

        opened(work, run=0.01)

    def test_a_call_in_flight_at_a_crash_stays_booked_and_may_be_paid_again(self, opened: Callable[..., None]) -> None:
        tokens = []

        async def killed(treasury: Treasury) -> None:
            tokens.append(await granted(treasury, call()))

        async def later(treasury: Treasury) -> None:
            assert isinstance(await treasury.reserve(call("b", CENT + 1)), Denied)
            tokens.append(await granted(treasury, call()))
            assert len(set(tokens)) == 2
            assert isinstance(await treasury.reserve(call("b", 1)), Denied)
            await treasury.commit(tokens[0], {"text": "came after all"}, USAGE, 1)  # its asker had lived on
            await granted(treasury, call("b", CENT - 1))

        opened(killed, run=0.02)
        opened(later, run=0.02)

    def test_who_asks_again_is_not_waiting_for_the_first_answer(self, opened: Callable[..., None]) -> None:
        async def work(treasury: Treasury) -> None:
            first, second = [await granted(treasury, call()) for _ in range(2)]
            assert first != second and isinstance(await treasury.reserve(call("b", 1)), Denied)

        opened(work, run=0.02)

    def test_who_was_cancelled_may_ask_again_and_both_are_booked(self, opened: Callable[..., None]) -> None:
        async def work(treasury: Treasury) -> None:
            await treasury.fail(await granted(treasury, call()), "cancelled", "Ctrl-C")
            assert isinstance(await treasury.reserve(call("b", CENT + 1)), Denied)
            await treasury.commit(await granted(treasury, call()), {"text": "x"}, USAGE, 1)
            assert isinstance(await treasury.reserve(call("b", CENT)), Denied)
            assert await treasury.reserve(call()) == Known(response={"text": "x"}, usage=USAGE, cost_nano=1)

        opened(work, run=0.02)

    @pytest.mark.parametrize("cause", ["", "refused", "timeout"])
    def test_a_session_asks_nothing_else_where_it_was_told_something(
        self, opened: Callable[..., None], cause: Any
    ) -> None:
        other = replace(call(), id="in other words")

        async def first(treasury: Treasury) -> None:
            await treasury.fail(await granted(treasury, call()), "cancelled", "")
            token = await granted(treasury, call())
            await (treasury.fail(token, cause, "") if cause else treasury.commit(token, {}, USAGE, 1))

        async def later(treasury: Treasury) -> None:
            with pytest.raises(StaleError, match="asked something else before"):
                await treasury.reserve(other)
            for elsewhere in (replace(other, attempt=1), replace(other, step="2"), replace(other, session="t")):
                assert isinstance(await treasury.reserve(replace(elsewhere, id=repr(elsewhere))), Granted)

        opened(first)
        opened(later)

    @pytest.mark.parametrize("order", [(0, 1), (1, 0)])
    def test_the_answer_is_that_of_whoever_asked_last(
        self, opened: Callable[..., None], order: tuple[int, int]
    ) -> None:
        async def work(treasury: Treasury) -> None:
            tokens = [await granted(treasury, call()) for _ in range(2)]
            for k in order:
                await treasury.commit(tokens[k], {"text": k}, USAGE, k)
            assert await treasury.reserve(call()) == Known(response={"text": 1}, usage=USAGE, cost_nano=1)

        opened(work)

    def test_many_at_once_keep_within_the_cap(self, opened: Callable[..., None]) -> None:
        async def work(treasury: Treasury) -> None:
            answers = await asyncio.gather(*(treasury.reserve(call(f"c{i}", session=f"s{i}")) for i in range(50)))
            assert sum(isinstance(answer, Granted) for answer in answers) == 7
            tokens = [answer.token for answer in answers if isinstance(answer, Granted)]
            await asyncio.gather(*(treasury.commit(token, {}, USAGE, CENT // 2) for token in tokens for _ in range(2)))
            answers = await asyncio.gather(*(treasury.reserve(call(f"d{i}", session=f"s{i}")) for i in range(50)))
            assert sum(isinstance(answer, Granted) for answer in answers) == 4

        opened(work, run=0.079)

    def test_a_cap_may_be_raised_and_lowered_between_openings(self, opened: Callable[..., None]) -> None:
        async def spend(treasury: Treasury) -> None:
            await granted(treasury, call())

        async def lowered(treasury: Treasury) -> None:
            assert isinstance(await treasury.reserve(call("b", 1)), Denied)
            await granted(treasury, call("free", 0))

        async def raised(treasury: Treasury) -> None:
            await granted(treasury, call("b"))

        opened(spend, run=0.01)
        opened(lowered, run=0.001)
        opened(raised, run=0.02)

    def test_what_a_session_spent(self, opened: Callable[..., None]) -> None:
        async def first(treasury: Treasury) -> None:
            await treasury.commit(await granted(treasury, call(session="mine")), {}, USAGE, 7)
            await treasury.commit(await granted(treasury, call("of another", session="yours")), {}, USAGE, 100)
            await granted(treasury, call("in flight", 20, session="mine"))
            assert [await treasury.spent(session) for session in ("mine", "yours", "nobody's")] == [27, 100, 0]

        async def later(treasury: Treasury) -> None:
            assert await treasury.spent("mine") == 27, "what was lost stays booked"

        opened(first)
        opened(later)

    def test_a_cost_above_its_reservation_is_booked_and_told(self, opened: Callable[..., None]) -> None:
        async def work(treasury: Treasury) -> None:
            token, other = await granted(treasury, call()), await granted(treasury, call("other", 1))
            ends = await asyncio.gather(
                treasury.commit(token, {"text": "dear"}, USAGE, CENT + 5),
                treasury.commit(other, {}, USAGE, 1),
                return_exceptions=True,
            )
            assert isinstance(ends[0], MoneyError) and "0.010000 USD were set aside" in str(ends[0]) and ends[1] is None
            assert await treasury.reserve(call()) == Known(response={"text": "dear"}, usage=USAGE, cost_nano=CENT + 5)
            denied = await treasury.reserve(call("b", CENT))
            assert isinstance(denied, Denied)
            await granted(treasury, call("b", CENT - 6))

        opened(work, run=0.02)

    def test_a_call_that_was_never_granted_has_no_end(self, opened: Callable[..., None]) -> None:
        async def work(treasury: Treasury) -> None:
            with pytest.raises(MoneyError, match="never granted"):
                await treasury.commit(77, {}, USAGE, 1)
            with pytest.raises(MoneyError, match="never granted"):
                await treasury.fail(77, "refused", "")
            for nonsense in (-1, 10**40):
                with pytest.raises(MoneyError, match="expected 0 to"):
                    await treasury.reserve(call("b", nonsense))
                with pytest.raises(MoneyError, match="expected 0 to"):
                    await treasury.commit(await granted(treasury, call()), {}, USAGE, nonsense)

        opened(work)

    def test_a_session_is_told_what_it_remembers(self, opened: Callable[..., None]) -> None:
        kept = [
            Remembered(step=step, effect=f"hash {step}", result={"n": [step, None]}) for step in ("10", "9", "11.0")
        ]

        async def first(treasury: Treasury) -> None:
            for remembered in kept:
                await treasury.remember("s", remembered)
            await treasury.remember("s", Remembered(step="9", effect="another", result=1))
            await treasury.remember("t", Remembered(step="9", effect="another", result=1))

        async def later(treasury: Treasury) -> None:
            assert await treasury.memory("s") == tuple(kept)
            assert await treasury.memory("nobody") == ()

        opened(first)
        opened(later)

    def test_a_model_is_called_no_faster_than_it_may_be(self, opened: Callable[..., None]) -> None:
        async def work(treasury: Treasury) -> None:
            first, second, other = [
                await treasury.reserve(call(name, model=model))
                for name, model in (("a", "m"), ("b", "m"), ("c", "free"))
            ]
            assert isinstance(first, Granted) and isinstance(second, Granted) and isinstance(other, Granted)
            assert first.delay_s == other.delay_s == 0 < second.delay_s < 90
            await treasury.fail(other.token, "rate-limited", "", 100.0)
            held = await treasury.reserve(call("d", model="free"))
            assert isinstance(held, Granted) and 0 < held.delay_s <= 100

        opened(work, requests_per_minute=1)

    def test_whoever_was_overtaken_is_refused(self, opener: OpenTreasury) -> None:
        async def work() -> None:
            old = opener(MoneyCaps())
            token = await granted(old, call())
            new = opener(MoneyCaps())
            await new.reserve(call("b"))
            for entry in (old.reserve(call("c")), old.commit(token, {}, USAGE, 1), old.fail(token, "timeout", "")):
                with pytest.raises(FencedError, match="took over"):
                    await entry

        asyncio.run(work())
