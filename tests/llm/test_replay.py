"""A replay answers what was recorded, and nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest

from genesys.llm.book import CallBook
from genesys.llm.calls import Denied, Granted, Known, KnownFailure, Remembered, StaleError
from genesys.llm.local_treasury import LocalTreasury
from genesys.llm.replay import ReplayTreasury
from genesys.llm.settings import MoneyCaps
from genesys.testing.treasury import CENT, USAGE, call, granted


async def test_a_recorded_session_takes_the_same_way_for_nothing(tmp_path: Path) -> None:
    path = tmp_path / "calls.sqlite"
    live = LocalTreasury(CallBook(path, MoneyCaps(run=0.03)))
    await live.fail(await granted(live, call("a")), "rate-limited", "slower")
    await live.fail(await granted(live, call("b")), "timeout", "600 s")
    await live.commit(await granted(live, call("c")), {"text": "yes"}, USAGE, 5)
    denied = await live.reserve(call("d", 2 * CENT))
    remembered = Remembered(step="4", effect="h", result={"findings": []})
    await live.remember("s", remembered)
    in_flight = await live.reserve(call("e"))
    before = live.book.totals()

    replay = ReplayTreasury(CallBook(path, mode="reader"))
    assert await replay.reserve(call("a")) == KnownFailure(cause="rate-limited", reason="slower")
    assert await replay.reserve(call("b")) == KnownFailure(cause="timeout", reason="600 s")
    assert await replay.reserve(call("c")) == Known(response={"text": "yes"}, usage=USAGE, cost_nano=5)
    assert isinstance(denied, Denied) and await replay.reserve(call("d", 2 * CENT)) == denied
    assert await replay.memory("s") == (remembered,)
    await replay.remember("s", remembered)
    assert isinstance(in_flight, Granted)
    for name in ("e", "never"):
        with pytest.raises(StaleError, match=f"Cannot replay attempt 0 of step of {name} of session 's'"):
            await replay.reserve(call(name))
    with pytest.raises(StaleError, match="does not remember it"):
        await replay.remember("s", Remembered(step="4", effect="another", result=1))
    for entry in (replay.commit(1, {}, USAGE, 1), replay.fail(1, "timeout", "")):
        with pytest.raises(StaleError, match="a replay grants none"):
            await entry
    assert live.book.totals() == before


async def test_a_call_that_was_denied_and_made_later_is_replayed_as_made(tmp_path: Path) -> None:
    path = tmp_path / "calls.sqlite"
    poor = LocalTreasury(CallBook(path, MoneyCaps(run=0)))
    assert isinstance(await poor.reserve(call()), Denied)
    rich = LocalTreasury(CallBook(path, MoneyCaps(run=1)))
    await rich.commit(await granted(rich, call()), {"text": "yes"}, USAGE, 5)
    assert isinstance(await ReplayTreasury(CallBook(path, mode="reader")).reserve(call()), Known)
