"""The book of calls: conformance, and what only a file can have."""

from __future__ import annotations

import asyncio
import logging
import sqlite3
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from genesys.errors import ConfigError, FencedError, TransientError
from genesys.llm.book import CallBook
from genesys.llm.calls import Denied, Granted, Known, Remembered
from genesys.llm.limits import Pace
from genesys.llm.local_treasury import LocalTreasury
from genesys.llm.settings import MoneyCaps
from genesys.testing.treasury import CENT, USAGE, OpenTreasury, TreasuryTestCase, call


class TestLocalTreasury(TreasuryTestCase):
    @pytest.fixture
    def opener(self, tmp_path: Path) -> OpenTreasury:
        def opened(caps: MoneyCaps, requests_per_minute: float | None = None) -> LocalTreasury:
            return LocalTreasury(CallBook(tmp_path / "calls.sqlite", caps), {"m": Pace(requests_per_minute)})

        return opened


def booked(path: Path) -> int:
    """The nano-dollars that count against a run's cap, by the file."""
    book = CallBook(path, mode="reader")
    total = book.totals().run.booked_nano
    book.close()
    return total


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "run" / "calls.sqlite"


def test_prices_stay_what_they_were_and_new_models_get_todays(path: Path) -> None:
    CallBook(path, prices={"a": {"input": 3}}).close()
    CallBook(path, prices={"a": {"input": 4}, "b": {"input": 5}}).close()
    assert CallBook(path).prices == CallBook(path, mode="reader").prices == {"a": {"input": 3}, "b": {"input": 5}}


def test_a_reader_sees_what_the_writer_wrote_and_enters_nothing(path: Path) -> None:
    writer = CallBook(path)
    reader = CallBook(path, mode="reader")
    granted = writer.reserve(call())
    assert isinstance(granted, Granted) and reader.totals().run.unsure_nano == CENT
    writer.commit(granted.token, {"text": "x"}, USAGE, 3)
    writer.remember("s", Remembered(step="1", effect="h", result=[1]))
    assert reader.known("a") == Known(response={"text": "x"}, usage=USAGE, cost_nano=3)
    assert reader.memory("s") == (Remembered(step="1", effect="h", result=[1]),)
    with pytest.raises((FencedError, sqlite3.OperationalError)):
        reader.reserve(call("b"))
    assert isinstance(writer.reserve(call("b")), Granted), "a reader fences nobody"


def test_there_is_nothing_to_read_where_no_run_was(path: Path) -> None:
    with pytest.raises(ConfigError, match="Cannot open the calls"):
        CallBook(path, mode="reader")
    path.parent.mkdir()
    path.write_bytes(b"something else entirely" * 1000)
    with pytest.raises(ConfigError, match="Cannot open the calls"):
        CallBook(path)


def test_a_file_whose_writer_was_killed_before_its_tables_stood_is_empty(path: Path) -> None:
    path.parent.mkdir()
    with sqlite3.connect(path) as db:
        db.execute("PRAGMA journal_mode=WAL")
    db.close()
    assert CallBook(path, mode="reader").totals().run.n_calls == 0


def test_a_file_of_a_later_version_is_refused(path: Path) -> None:
    CallBook(path).close()
    with sqlite3.connect(path) as db:
        db.execute("UPDATE meta SET value = '1000' WHERE name = 'version'")
    for mode in ("writer", "reader"):
        with pytest.raises(ConfigError, match="of version 1000; expected at most 1"):
            CallBook(path, mode=mode)  # type: ignore[arg-type]


@pytest.mark.parametrize("usd", [-0.1, float("nan"), float("inf")])
def test_a_cap_is_an_amount_of_money(path: Path, usd: float) -> None:
    for caps in (MoneyCaps(run=usd), MoneyCaps(roles={"coder": usd})):
        with pytest.raises(ConfigError, match=r"Cannot hold agents\.caps\."):
            CallBook(path, caps)


def test_a_cap_is_read_as_it_is_written(path: Path) -> None:
    book = CallBook(path, MoneyCaps(run=0.3))  # as a float, a little less
    assert isinstance(book.reserve(call("a", 300_000_001)), Denied)
    assert isinstance(book.reserve(call("a", 300_000_000)), Granted)


def test_totals_are_split_by_everything_that_matters(path: Path) -> None:
    now = [86_400.0 * 20_000]
    book = CallBook(path, MoneyCaps(run=0.05), clock=lambda: now[0])

    def token(name: str, **of: Any) -> int:
        granted = book.reserve(call(name, **of))
        assert isinstance(granted, Granted)
        return granted.token

    book.commit(token("a"), {}, USAGE, 3)
    book.fail(token("b", role="judge", session="t"), "refused", "")
    now[0] += 86_400
    book.fail(token("c", session="t", model="n"), "timeout", "")
    token("d")
    assert isinstance(book.reserve(call("e", CENT * 100)), Denied)
    totals = book.totals()
    run = totals.run
    assert (run.n_calls, run.n_answered, run.n_failed, run.n_denied) == (4, 1, 1, 1)
    assert (run.n_input, run.n_output, run.n_cached, run.n_written) == (10, 5, 2, 3)
    assert run.booked_nano == 3 + 2 * CENT and run.unsure_nano == 2 * CENT and run.usd == pytest.approx(0.02)
    assert {name: spent.booked_nano for name, spent in totals.sessions.items()} == {"s": 3 + CENT, "t": CENT}
    assert {name: spent.booked_nano for name, spent in totals.roles.items()} == {"coder": 3 + 2 * CENT, "judge": 0}
    assert {name: spent.booked_nano for name, spent in totals.models.items()} == {"m": 3 + CENT, "n": CENT}
    assert {name: spent.n_calls for name, spent in totals.purposes.items()} == {"answer": 4}
    assert {day: spent.booked_nano for day, spent in totals.days.items()} == {"2024-10-04": 3, "2024-10-05": 2 * CENT}


def test_a_day_lets_go_of_what_it_held(path: Path) -> None:
    now = [1e9]
    book = CallBook(path, MoneyCaps(day=0.01), clock=lambda: now[0])
    granted = book.reserve(call("a"))
    assert isinstance(granted, Granted)
    now[0] += 10 * 86_400
    assert isinstance(book.reserve(call("b", 1)), Denied), "in flight for ten days, it may be charged today"
    book.commit(granted.token, {}, USAGE, CENT)
    now[0] += 86_400
    assert isinstance(book.reserve(call("b", 1)), Denied)
    now[0] += 61
    assert isinstance(book.reserve(call("b")), Granted)


def test_a_day_lets_go_of_what_was_in_flight_when_the_books_died(path: Path) -> None:
    now = [1e9]
    CallBook(path, MoneyCaps(day=0.01), clock=lambda: now[0]).reserve(call("a"))
    now[0] += 3600
    book = CallBook(path, MoneyCaps(day=0.01), clock=lambda: now[0])
    assert isinstance(book.reserve(call("b", 1)), Denied)
    now[0] += 86_400 + 61
    assert isinstance(book.reserve(call("b")), Granted)


def test_a_disk_without_room_enters_nothing_and_may_be_tried_again(path: Path) -> None:
    async def work() -> None:
        treasury = LocalTreasury(CallBook(path))
        answers = await asyncio.gather(*(treasury.reserve(call(f"c{i}")) for i in range(3)))
        db = treasury.book._db
        db.execute("PRAGMA max_page_count = 1")
        big = {"text": [str(i * 7919 % 100_003) for i in range(30_000)]}
        tokens = [answer.token for answer in answers if isinstance(answer, Granted)]
        ends = await asyncio.gather(
            *(treasury.commit(token, big if k == 1 else {}, USAGE, 1) for k, token in enumerate(tokens)),
            return_exceptions=True,
        )
        assert all(isinstance(end, TransientError) and "full" in str(end) for end in ends), ends
        assert booked(path) == 3 * CENT
        db.execute("PRAGMA max_page_count = 1000000")
        await asyncio.gather(*(treasury.commit(token, big, USAGE, 1) for token in tokens))
        assert booked(path) == 3

    asyncio.run(work())


def test_an_asker_that_gives_up_leaves_its_call_booked_until_it_is_asked_again(path: Path) -> None:
    async def work() -> None:
        treasury = LocalTreasury(CallBook(path, MoneyCaps(run=0.02)))
        asking = asyncio.create_task(treasury.reserve(call()))
        await asyncio.sleep(0)
        asking.cancel()
        assert await treasury.reserve(call("b")) == Granted(token=2)
        assert isinstance(await treasury.reserve(call("c", 1)), Denied)

    asyncio.run(work())
    assert booked(path) == 2 * CENT


def test_a_cost_above_its_reservation_is_logged(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    book = CallBook(path)
    granted = book.reserve(call())
    assert isinstance(granted, Granted)
    with caplog.at_level(logging.ERROR), pytest.raises(Exception, match="were set aside"):
        book.commit(granted.token, {}, USAGE, CENT + 1)
    assert "were set aside" in caplog.text and booked(path) == CENT + 1


def test_what_is_on_its_way_may_come_back_cheaper(path: Path) -> None:
    book = CallBook(path, MoneyCaps(run=0.02))
    first = book.reserve(call("a"))
    assert isinstance(first, Granted) and isinstance(book.reserve(call("b")), Granted)
    full = book.reserve(call("c"))
    assert isinstance(full, Denied) and full.may_pass
    book.commit(first.token, {}, USAGE, CENT)
    for _ in range(2):  # one cent is spent, one is on its way: one call may still go, two never
        assert isinstance(denied := book.reserve(call("d", 2 * CENT)), Denied) and not denied.may_pass


def test_books_are_closed_after_the_entry_under_way(path: Path) -> None:
    """SQLite frees its memory at once: a statement of another thread would go on in it (a segmentation fault in CI)."""
    book, begun, released = CallBook(path), threading.Event(), threading.Event()

    def enter() -> None:
        with book.together():
            book.reserve(call())
            begun.set()
            released.wait(10)

    with ThreadPoolExecutor(2) as threads:
        entering = threads.submit(enter)
        assert begun.wait(10)
        closing = threads.submit(book.close)
        time.sleep(0.1)
        assert not closing.done()
        released.set()
        closing.result(10)
        entering.result(10)
    assert booked(path) == CENT


def test_entries_of_several_threads_are_transactions_of_their_own(path: Path) -> None:
    book = CallBook(path)

    def enter(k: int) -> bool:
        try:
            with book.together():
                book.reserve(call(f"c{k}"))
                if k % 2:
                    raise ValueError("taken back")
        except ValueError:
            return False
        return True

    with ThreadPoolExecutor(8) as threads:
        kept = sum(threads.map(enter, range(200)))
    assert booked(path) == kept * CENT == 100 * CENT
