"""Law 24 and decisions.md 26 as state machines: whatever crashes, repeats, jumps or comes late, the caps hold to the
nano-dollar and the ledger is never below the provider's own count."""

from __future__ import annotations

import asyncio
import contextlib
import math
import multiprocessing
import os
import random
import shutil
import sqlite3
import tempfile
import time
from collections import Counter
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from genesys.errors import FencedError
from genesys.llm.book import DAY_S, CallBook
from genesys.llm.calls import NANO_PER_USD, Call, CallFailure, Denied, Granted, Known, KnownFailure, Treasury, Usage
from genesys.llm.local_treasury import LocalTreasury
from genesys.llm.settings import MoneyCaps
from genesys.testing.treasury import call

SESSIONS, ROLES = ("s", "t"), ("coder", "judge")
usd = st.sampled_from([None, 0, 1e-9, 7e-9, 2e-8, 1e-7])
caps_of_a_run = st.builds(
    MoneyCaps, run=usd, session=usd, call=usd,
    roles=st.dictionaries(st.sampled_from(ROLES), usd.filter(lambda cap: cap is not None), max_size=2),  # type: ignore[arg-type]
)  # fmt: skip


def nano(cap: float | None) -> float:
    return math.inf if cap is None else int(Fraction(str(cap)) * NANO_PER_USD)


class Provider:
    """Charges for what it answers, and keeps a count of its own."""

    def __init__(self) -> None:
        self.charged: Counter[tuple[str, str]] = Counter()

    def serve(self, asked: Call, cost_nano: int) -> None:
        assert 0 <= cost_nano <= asked.max_nano
        for key in (("run", ""), ("session", asked.session), ("role", asked.role)):
            self.charged[key] += cost_nano


def audited(book: CallBook) -> Counter[tuple[str, str]]:
    """What is booked, recomputed from the calls; the sums that the caps are held against must agree."""
    rows = book._db.execute(
        "SELECT session, role, booked_nano, max_nano, state, ended_at, reserved_at FROM calls"
    ).fetchall()
    booked: Counter[tuple[str, str]] = Counter()
    for session, role, amount, most, state, ended_at, reserved_at in rows:
        assert 0 <= amount <= most
        assert amount == most or state in ("committed", "failed", "denied")
        assert amount == 0 or state not in ("failed", "denied")
        assert (ended_at is None) == (state == "reserved") and (ended_at is None or ended_at >= reserved_at)
        for key in (("run", ""), ("session", session), ("role", role)):
            booked[key] += amount
    sums = {(scope, name): amount for scope, name, amount in book._db.execute("SELECT * FROM sums")}
    assert sums == dict(booked)
    assert sum(amount for (amount,) in book._db.execute("SELECT nano FROM minutes")) == booked["run", ""]
    return booked


class Money(RuleBasedStateMachine):
    """Sessions ask, the provider charges, ends are told late, twice or never, and the books die in between."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(dir="/dev/shm" if Path("/dev/shm").is_dir() else None))
        self.clock = [1e9]
        self.provider = Provider()
        self.sent: dict[int, tuple[Call, int, CallFailure | None]] = {}  # by token: what will come back
        self.answered: dict[int, tuple[Call, int]] = {}
        self.told: dict[str, object] = {}  # by id: how it ended for who asked
        self.n_paid: Counter[str] = Counter()
        self.n_broken = 0  # whatever may leave the ledger above the provider's count
        self.old: CallBook | None = None

    @initialize(caps=caps_of_a_run, day=st.sampled_from([None, 1.5e-8]))
    def begin(self, caps: MoneyCaps, day: float | None) -> None:
        self.day = day
        self.open(caps, 1)

    def open(self, caps: MoneyCaps, price: int) -> None:
        self.caps = MoneyCaps(run=caps.run, session=caps.session, call=caps.call, roles=caps.roles, day=self.day)
        self.book = CallBook(self.folder / "calls.sqlite", self.caps, {"m": price}, clock=lambda: self.clock[0])
        assert self.book.prices == {"m": 1}, "the first price of the run stays"

    def teardown(self) -> None:
        for book in (self.old, getattr(self, "book", None)):
            if book is not None:
                book.close()
        shutil.rmtree(self.folder)

    @rule(
        name=st.integers(0, 12).map(lambda i: f"c{i}"),
        session=st.sampled_from(SESSIONS),
        role=st.sampled_from(ROLES),
        most=st.sampled_from([0, 1, 5, 6, 20]),
        share=st.sampled_from([0.0, 0.4, 1.0]),
        failure=st.sampled_from([None, None, None, "rate-limited", "refused", "timeout"]),
    )
    def ask(self, name: str, session: str, role: str, most: int, share: float, failure: CallFailure | None) -> None:
        asked = call(f"{session}/{role}/{name}/{most}", most, session=session, role=role)
        before = audited(self.book)
        in_flight = [token for token, (other, _, _) in self.sent.items() if other.id == asked.id]
        answer = self.book.reserve(asked)
        if asked.id in self.told:
            assert answer == self.told[asked.id], "what a session was told once, it is told again"
        elif isinstance(answer, Granted):
            self.n_broken += len(in_flight)  # somebody else asks the same: the one before is given up
            self.obey(asked, before)
            cost = 0 if failure in ("rate-limited", "refused") else int(most * share)
            self.provider.serve(asked, cost)
            self.n_broken += failure == "timeout"
            self.n_paid[asked.id] += 1
            self.sent[answer.token] = asked, cost, failure
        elif isinstance(answer, Denied):
            assert most > self.room(asked, before), answer.reason
            self.n_broken += len(in_flight)

    def room(self, asked: Call, booked: Counter[tuple[str, str]]) -> float:
        """What the tightest cap leaves for a call; of the day, only that it is not judged here."""
        if self.day is not None:
            return -1 if asked.max_nano else math.inf
        limits = {("run", ""): self.caps.run, ("session", asked.session): self.caps.session}
        limits["role", asked.role] = self.caps.roles.get(asked.role)
        return min(nano(self.caps.call), *(nano(cap) - booked[key] for key, cap in limits.items()))

    def obey(self, asked: Call, before: Counter[tuple[str, str]]) -> None:
        """A call was granted: what it may cost passes no cap."""
        if asked.max_nano:
            assert asked.max_nano <= self.room(asked, before) or self.day is not None
            booked = audited(self.book)
            assert booked["run", ""] <= nano(self.caps.run)
            assert booked["session", asked.session] <= nano(self.caps.session)
            assert booked["role", asked.role] <= nano(self.caps.roles.get(asked.role))

    @precondition(lambda self: self.sent)
    @rule(data=st.data(), repeats=st.integers(1, 2), is_told=st.booleans())
    def end(self, data: st.DataObject, repeats: int, is_told: bool) -> None:
        """An answer comes back, in any order, also to books that were opened anew in between."""
        token = data.draw(st.sampled_from(sorted(self.sent)))
        asked, cost, failure = self.sent.pop(token)
        for _ in range(repeats):
            self.tell(token, asked, cost, failure)
        self.answered[token] = asked, cost
        newer = any(other.id == asked.id and later > token for later, (other, _, _) in self.sent.items())
        if is_told and asked.id not in self.told and not newer:
            self.told[asked.id] = (
                KnownFailure(cause=failure, reason="why")
                if failure
                else Known(
                    response={"cost": cost, "token": token}, usage=Usage(n_input=cost, n_output=1), cost_nano=cost
                )
            )

    def tell(self, token: int, asked: Call, cost: int, failure: CallFailure | None) -> None:
        if failure:
            self.book.fail(token, failure, "why")
        else:
            self.book.commit(token, {"cost": cost, "token": token}, Usage(n_input=cost, n_output=1), cost)

    @precondition(lambda self: self.answered)
    @rule(data=st.data(), failure=st.sampled_from([None, "timeout", "refused"]))
    def end_again(self, data: st.DataObject, failure: CallFailure | None) -> None:
        before = audited(self.book)
        token = data.draw(st.sampled_from(sorted(self.answered)))
        asked, _ = self.answered[token]
        self.tell(token, asked, asked.max_nano, failure)
        assert audited(self.book) == before, "a cost is booked once"

    @rule(seconds=st.sampled_from([-1e7, -3600.0, 1.0, 59.0, 3600.0, 43_200.0, 86_460.0]))
    def jump(self, seconds: float) -> None:
        self.clock[0] += seconds

    @rule(caps=caps_of_a_run, price=st.integers(1, 9), askers_live_on=st.booleans(), closes=st.booleans())
    def take_over(self, caps: MoneyCaps, price: int, askers_live_on: bool, closes: bool) -> None:
        """The books die, or are overtaken by others; who had asked may die with them."""
        self.n_broken += len(self.sent)
        if self.old is not None:
            self.old.close()
        self.old = None if closes else self.book
        if closes:
            self.book.close()
        if not askers_live_on:
            self.sent.clear()
        self.open(caps, price)
        if self.old is not None:
            with pytest.raises(FencedError, match="took over"):
                self.old.reserve(call("fenced"))

    @rule(after=st.integers(1, 60), most=st.integers(0, 6))
    def die_within_an_entry(self, after: int, most: int) -> None:
        """The process stops after some steps of the database: when it is opened again, all of the entry is there, or nothing."""
        before = audited(self.book)
        steps = iter(range(after))
        self.book._db.set_progress_handler(lambda: next(steps, None) is None, 3)
        try:
            answer: object = self.book.reserve(call("dying", most, session="u"))
        except sqlite3.OperationalError:
            answer = None
        self.book.close()
        self.open(self.caps, 1)
        self.n_broken += len(self.sent)
        if isinstance(answer, Granted):
            for key in (("run", ""), ("session", "u"), ("role", "coder")):
                before[key] += most
            self.n_broken += 1  # nobody sends it
        assert +audited(self.book) == +before

    @invariant()
    def the_ledger_is_never_below_the_providers_count(self) -> None:
        if not hasattr(self, "book"):
            return
        booked = audited(self.book)
        assert all(booked[key] >= charged for key, charged in self.provider.charged.items())
        if not self.n_broken and not self.sent:
            assert +booked == +self.provider.charged

    @invariant()
    def no_day_passes_its_cap(self) -> None:
        if getattr(self, "day", None) is None:
            return
        rows = self.book._db.execute("SELECT booked_nano, ended_at FROM calls").fetchall()
        ended = [(amount, at) for amount, at in rows if at is not None]
        for _, start in ended:
            assert sum(amount for amount, at in ended if start <= at < start + DAY_S) <= nano(self.day)


TestMoney = Money.TestCase
TestMoney.settings = settings(max_examples=30, stateful_step_count=40, deadline=None)


class TestMoneyThoroughly(Money.TestCase):
    settings = settings(max_examples=300, stateful_step_count=60, deadline=None)

    pytestmark = pytest.mark.slow


class CountingProvider:
    """Serves calls after a moment, and writes a line for each into a file before it answers: a count that survives kills."""

    def __init__(self, path: Path, seed: int) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        self._rng = random.Random(seed)

    async def serve(self, asked: Call) -> int:
        """What the call cost."""
        for _ in range(self._rng.randrange(4)):
            await asyncio.sleep(self._rng.random() / 500)
        cost = int(asked.id[-1]) * asked.max_nano // 10
        os.write(self._file, f"{asked.id} {cost}\n".encode())
        await asyncio.sleep(0)
        return cost


async def work_through(treasury: Treasury, provider: CountingProvider, session: str, n_steps: int) -> int:
    """A session that asks step by step, and ends early when there is no money left; gives the steps it made."""
    for step in range(n_steps):
        asked = call(f"{session}/{step}{step % 10}", 1000, session=session, role=ROLES[step % 2])
        answer = await treasury.reserve(asked)
        if isinstance(answer, Denied):
            return step
        if isinstance(answer, Granted):
            if step % 7 == 3:
                await treasury.fail(answer.token, "rate-limited", "slower")
            else:
                cost = await provider.serve(asked)
                await treasury.commit(answer.token, {"text": "x" * 500}, Usage(n_input=1, n_output=1), cost)
    return n_steps


async def work_all(folder: Path, caps: MoneyCaps, seed: int, n_sessions: int, n_steps: int) -> list[int]:
    treasury = LocalTreasury(CallBook(folder / "calls.sqlite", caps))
    provider = CountingProvider(folder / "served", seed)
    return await asyncio.gather(*(work_through(treasury, provider, f"s{i}", n_steps) for i in range(n_sessions)))


def served(folder: Path) -> tuple[int, Counter[str]]:
    """The provider's count: nano-dollars, and how often it served each call."""
    lines = [line.split() for line in (folder / "served").read_text().splitlines()]
    return sum(int(cost) for _, cost in lines), Counter(name for name, _ in lines)


@pytest.mark.parametrize("usd", [None, 3.7e-5])
def test_many_sessions_at_once_and_equal_books(tmp_path: Path, usd: float | None) -> None:
    steps = asyncio.run(work_all(tmp_path, MoneyCaps(run=usd), 1, n_sessions=20, n_steps=10))
    charged, times = served(tmp_path)
    book = CallBook(tmp_path / "calls.sqlite", mode="reader")
    assert audited(book)["run", ""] == charged <= nano(usd)
    assert set(times.values()) == {1}
    assert steps == [10] * 20 if usd is None else charged > nano(usd) - 20 * 1000 and min(steps) < 10


def test_a_run_that_is_broken_off_and_taken_up_pays_again_only_what_was_in_flight(tmp_path: Path) -> None:
    async def broken_off(seed: int) -> None:
        await asyncio.wait_for(work_all(tmp_path, MoneyCaps(), seed, n_sessions=10, n_steps=12), 0.05 * seed)

    for seed in (1, 2):
        with contextlib.suppress(TimeoutError):
            asyncio.run(broken_off(seed))
    steps = asyncio.run(work_all(tmp_path, MoneyCaps(), 3, n_sessions=10, n_steps=12))
    check_books_after_kills(tmp_path, MoneyCaps(), n_kills=2, n_sessions=10)
    assert steps == [12] * 10


def check_books_after_kills(folder: Path, caps: MoneyCaps, n_kills: int, n_sessions: int) -> None:
    charged, times = served(folder)
    book = CallBook(folder / "calls.sqlite", mode="reader")
    booked = audited(book)["run", ""]
    assert charged <= booked <= nano(caps.run)
    lost: Counter[str] = Counter(
        dict(book._db.execute("SELECT id, COUNT(*) FROM calls WHERE state IN ('lost', 'reserved') GROUP BY id"))
    )
    assert all(n <= 1 + lost[name] for name, n in times.items()), "what was answered is paid once"
    assert lost.total() <= n_kills * n_sessions, "a session has one call in flight"
    assert booked <= charged + 1000 * lost.total()


def _work_until_killed(folder: Path, caps: MoneyCaps, seed: int, n_sessions: int, n_steps: int) -> None:
    asyncio.run(work_all(folder, caps, seed, n_sessions, n_steps))


@pytest.mark.slow
@pytest.mark.parametrize("usd", [None, 4e-4])
def test_killed_at_any_moment_the_books_hold(tmp_path: Path, usd: float | None) -> None:
    caps, rng, n_kills = MoneyCaps(run=usd), random.Random(7), 0
    context = multiprocessing.get_context("spawn")
    for seed in range(100):
        process = context.Process(target=_work_until_killed, args=(tmp_path, caps, seed, 20, 60))
        n_before = _n_served(tmp_path)
        process.start()
        deadline = time.monotonic() + 100
        while process.is_alive() and _n_served(tmp_path) <= n_before and time.monotonic() < deadline:
            time.sleep(0.005)
        soon = 0.02 if n_kills < 3 else 0.3  # under a cap all the work is done in less than a second
        process.join(rng.random() * soon if seed < 25 else 100)
        if process.exitcode == 0:
            break
        process.kill()
        process.join()
        n_kills += 1
        check_books_after_kills(tmp_path, caps, n_kills, n_sessions=20)
    assert process.exitcode == 0 and n_kills >= 3
    check_books_after_kills(tmp_path, caps, n_kills, n_sessions=20)


def _n_served(folder: Path) -> int:
    return (folder / "served").stat().st_size if (folder / "served").exists() else 0
