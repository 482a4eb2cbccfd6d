"""The books of a run's calls: one SQLite file, in which money is set aside before a call and booked after it.

    reserved ──> committed            answered: what it cost
        │  └───> failed               free
        │  └───> unknown              timeout: booked at its maximum, for nobody knows
        └──────> lost                 its asker went away, or its books died: booked at its maximum, may be asked again
                 denied               a cap had no room: nothing was sent

A lost call may still end as any of the first three, when its asker lived on. Ended is ended.
"""

from __future__ import annotations

import asyncio
import json
import logging
import math
import sqlite3
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, cast

from genesys.errors import FencedError, GenesysError, TransientError
from genesys.llm.book_tables import MINUTE_S, Mode, open_calls, pack, unpack
from genesys.llm.calls import (
    Call,
    CallEnd,
    Denied,
    Granted,
    Known,
    KnownFailure,
    MoneyError,
    Remembered,
    StaleError,
    Usage,
)
from genesys.llm.caps import MOST_NANO, Cap, Caps, denied, usd_text
from genesys.llm.limits import Pace
from genesys.llm.settings import MoneyCaps
from genesys.llm.spending import Totals, totals

log = logging.getLogger(__name__)

DAY_S = 86_400
MAX_REASON = 2000
_CALL, _USAGE = tuple(Call.__dataclass_fields__), tuple(Usage.__dataclass_fields__)
_STANDING = ("state", "booked_nano", "reserved_at", "ended_at", "cause", "reason")
_INSERT = f"INSERT INTO calls ({', '.join(_CALL + _STANDING)}) VALUES ({', '.join('?' * len(_CALL + _STANDING))})"


class CallBook:
    """What every call of a run cost or may still cost, what was answered, and what sessions remember.

    Guarantees: an entry is durable when its method, or the outermost `together()`, returns; what is booked, reservations
    included, never passes a cap by an entry of `reserve`; each cost is booked once, whoever repeats it. Opening
    the file as a writer fences the writer before, and makes `lost` what was in flight. A connection serves one caller at
    a time. It does not know what the provider charges: a call whose maximum was too low is booked as it was, with a MoneyError.

    Args:
        caps: May differ from those of an earlier opening.
        prices: Plain data, by model. What the file has for a model already stays; see `prices`.
        mode: A reader sees what stands in the file, and refuses entries.
        clock: Seconds since the epoch, for the cap of a day. It may jump; set forward, it lets a day pass.
    """

    def __init__(
        self,
        path: Path,
        caps: MoneyCaps | None = None,
        prices: Mapping[str, Any] | None = None,
        *,
        mode: Mode = "writer",
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.path = path
        self._clock = clock
        self._caps = Caps(caps or MoneyCaps())
        self._epoch = 0
        self._is_entering = False  # not the connection's word for it, which a failed rollback leaves true
        self._db = open_calls(path, mode)
        if mode == "writer":
            self._take_over(prices or {})

    def _take_over(self, prices: Mapping[str, Any]) -> None:
        with self._transaction():
            self._epoch = int(self._meta("epoch")) + 1
            self._set_meta("epoch", str(self._epoch))
            self._set_meta("prices", json.dumps({**prices, **self.prices}, sort_keys=True))
            self._lose("state = 'reserved'")

    @property
    def prices(self) -> dict[str, Any]:
        """What models cost in this run, from the first opening that named them to its end."""
        found: dict[str, Any] = json.loads(self._meta("prices"))
        return found

    # --- entries -------------------------------------------------------------------------------------------

    @contextmanager
    def together(self) -> Iterator[None]:
        """Make the entries within one transaction: one write to the disk for all of them, and none if it fails.

        Raises:
            FencedError: Another writer took the books over, or these were opened to read.
        """
        if self._is_entering:
            yield
            return
        with self._transaction():
            epoch = int(self._meta("epoch"))
            if not self._epoch or epoch != self._epoch:
                what = f"writer {epoch} took over from writer {self._epoch}" if self._epoch else "it was opened to read"
                raise FencedError(f"Cannot book in {self.path.name}: {what}. Stop this process.")
            yield

    def reserve(self, call: Call) -> Granted | Known | KnownFailure | Denied:
        """Set aside the most that a call can cost, unless it ended before or a cap has no room for it.

        Raises:
            StaleError: Another call ended at this attempt of this step of the session.
        """
        if not 0 <= call.max_nano <= MOST_NANO:
            raise MoneyError(f"Cannot reserve {call.max_nano} nano-dollars for a call: expected 0 to {MOST_NANO}.")
        with self.together():
            known = self.known(call.id)
            if known is not None:
                return known
            self._check_same(call)
            self._lose("id = ? AND state = 'reserved'", call.id)  # who asks again is not waiting for an answer
            now = self._clock()
            denial = self._denied(call, now)
            if denial is not None:
                self._enter(call, ("denied", 0, now, now, denial.cap, denial.reason))
                return denial
            return Granted(token=self._enter(call, ("reserved", call.max_nano, now, None, "", "")))

    def commit(self, token: int, response: Mapping[str, Any], usage: Usage, cost_nano: int) -> None:
        """Book what a call cost, with its answer; nothing when it ended before.

        Raises:
            MoneyError: It cost more than was reserved, and that much is booked; or no such call was granted.
        """
        packed = pack(response)
        if not 0 <= cost_nano <= MOST_NANO:
            raise MoneyError(f"Cannot commit call {token} at {cost_nano} nano-dollars: expected 0 to {MOST_NANO}.")
        with self.together():
            max_nano = self._end(
                token,
                f"state = 'committed', booked_nano = ?, {' = ?, '.join(_USAGE)} = ?",
                (cost_nano, *(getattr(usage, column) for column in _USAGE)),
            )
            if max_nano is not None:
                self._db.execute("INSERT INTO answers VALUES (?, ?)", (token, packed))
        if max_nano is not None and cost_nano > max_nano:
            message = f"Call {token} cost {usd_text(cost_nano)}: {usd_text(max_nano)} were set aside. A cap may be passed by the difference."
            log.error(message)
            raise MoneyError(message)

    def fail(self, token: int, cause: CallEnd, reason: str) -> None:
        """Book a call without an answer: at its maximum when it may be charged, else free; nothing when it ended before."""
        kept = {"timeout": ("unknown", "max_nano"), "cancelled": ("lost", "max_nano")}
        state, booked = kept.get(cause, ("failed", "0"))
        with self.together():
            self._end(
                token, f"state = '{state}', booked_nano = {booked}, cause = ?, reason = ?", (cause, _clean(reason))
            )

    def remember(self, session: str, remembered: Remembered) -> None:
        """Keep what an effect gave; what a step gave first stays."""
        packed = pack(remembered.result)
        with self.together():
            self._db.execute(
                "INSERT OR IGNORE INTO memory VALUES (?, ?, ?, ?)",
                (session, remembered.step, remembered.effect, packed),
            )

    def _check_same(self, call: Call) -> None:
        """Refuse to ask a session's question anew in other words."""
        row = self._db.execute(
            "SELECT 1 FROM calls WHERE session = ? AND step = ? AND attempt = ? AND id <> ? "
            "AND state IN ('committed', 'failed', 'unknown') LIMIT 1",
            (call.session, call.step, call.attempt, call.id),
        ).fetchone()
        if row is not None:
            raise StaleError(
                f"Cannot take session {call.session!r} up again: at step {call.step} it asked something else before. It was "
                f"begun with other models, another version of Genesys or another task; start a new one."
            )

    def _enter(self, call: Call, standing: tuple[Any, ...]) -> int:
        values = [getattr(call, column) for column in _CALL]
        values[_CALL.index("seed")] = str(call.seed)  # may have more than 64 bits
        return self._db.execute(_INSERT, (*values, *standing)).lastrowid or 0

    def _end(self, token: int, change: str, values: Sequence[Any]) -> int | None:
        """End a call; gives what was set aside for it, or None when it had ended before."""
        rows = self._db.execute(
            f"UPDATE calls SET {change}, ended_at = COALESCE(ended_at, MAX(reserved_at, ?)) "
            "WHERE token = ? AND state IN ('reserved', 'lost') RETURNING max_nano",
            (*values, self._clock(), token),
        ).fetchall()
        if rows:
            return int(rows[0][0])
        if not self._db.execute("SELECT 1 FROM calls WHERE token = ? AND state <> 'denied'", (token,)).fetchall():
            raise MoneyError(f"Cannot book the end of call {token}: it was never granted in {self.path.name}.")
        return None

    def _lose(self, which: str, *values: Any) -> None:
        self._db.execute(
            f"UPDATE calls SET state = 'lost', ended_at = MAX(reserved_at, ?) WHERE {which}", (self._clock(), *values)
        )

    # --- caps ----------------------------------------------------------------------------------------------

    def _denied(self, call: Call, now: float) -> Denied | None:
        """The first cap that a call would pass, if any; one for which waiting is in vain goes before. What is free passes none."""
        found: list[Denied] = []
        for cap, name, limit in self._caps.of(call) if call.max_nano else ():
            left = limit - self._booked(cap, name, now)
            if call.max_nano > left:
                may_pass = call.max_nano <= left + self._on_the_way(cap, name)
                found.append(replace(denied(call, cap, limit, left), may_pass=may_pass))
        return min(found, key=lambda denial: denial.may_pass, default=None)

    def _booked(self, cap: Cap, name: str, now: float) -> int:
        """What counts against a cap, reservations included."""
        if cap == "call":
            return 0
        if cap == "day":  # whole minutes, so that it is up to a minute more than a day
            first = math.floor((now - DAY_S) / MINUTE_S)
            row = self._db.execute("SELECT SUM(nano) FROM minutes WHERE minute >= ?", (first,)).fetchone()
        else:
            row = self._db.execute("SELECT nano FROM sums WHERE scope = ? AND name = ?", (cap, name)).fetchone()
        return int((row or (0,))[0] or 0)

    def _on_the_way(self, cap: Cap, name: str) -> int:
        """What is set aside, under a cap, for calls that may come back cheaper."""
        if cap == "call":
            return 0
        column = cap if cap in ("session", "role") else "''"
        row = self._db.execute(
            f"SELECT COALESCE(SUM(max_nano), 0) FROM calls WHERE state = 'reserved' AND {column} = ?", (name,)
        ).fetchone()
        return int(row[0])

    # --- reading -------------------------------------------------------------------------------------------

    def known(self, call: str) -> Known | KnownFailure | None:
        """How a call ended, by its id; the last time, if it was asked again."""
        row = self._db.execute(
            f"SELECT token, state, booked_nano, cause, reason, {', '.join(_USAGE)} FROM calls "
            "WHERE id = ? AND state IN ('committed', 'failed', 'unknown') ORDER BY token DESC LIMIT 1",
            (call,),
        ).fetchone()
        if row is None:
            return None
        token, state, nano, cause, reason, *counts = row
        if state != "committed":
            return KnownFailure(cause=cause, reason=reason)
        (packed,) = self._db.execute("SELECT response FROM answers WHERE token = ?", (token,)).fetchone()
        usage = Usage(**dict(zip(_USAGE, counts, strict=True)))
        return Known(response=unpack(packed), usage=usage, cost_nano=nano)

    def denial(self, call: str) -> Denied | None:
        """The last denial of a call, by its id."""
        row = self._db.execute(
            "SELECT cause, reason FROM calls WHERE id = ? AND state = 'denied' ORDER BY token DESC LIMIT 1", (call,)
        ).fetchone()
        return None if row is None else Denied(cap=row[0], reason=row[1])

    def memory(self, session: str) -> tuple[Remembered, ...]:
        """What a session's effects gave, in the order in which they were remembered."""
        rows = self._db.execute("SELECT step, effect, result FROM memory WHERE session = ? ORDER BY rowid", (session,))
        return tuple(Remembered(step=step, effect=effect, result=unpack(packed)) for step, effect, packed in rows)

    def totals(self) -> Totals:
        """What was spent by now, in all and by session, role, model, purpose and day."""
        return totals(lambda select: self._db.execute(select).fetchall())

    def _meta(self, name: str) -> str:
        return str(self._db.execute("SELECT value FROM meta WHERE name = ?", (name,)).fetchone()[0])

    def _set_meta(self, name: str, value: str) -> None:
        self._db.execute("UPDATE meta SET value = ? WHERE name = ?", (value, name))

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._db.execute("BEGIN IMMEDIATE")  # refused when an earlier one could not even be rolled back
        self._is_entering = True
        try:
            yield
            self._db.execute("COMMIT")
        except BaseException:
            if self._db.in_transaction:  # a COMMIT for which the disk had no room may have rolled back by itself
                self._db.execute("ROLLBACK")
            raise
        finally:
            self._is_entering = False

    def close(self) -> None:
        self._db.close()


def _clean(reason: str) -> str:
    """An endpoint's words as text that can be stored."""
    return reason[:MAX_REASON].encode(errors="backslashreplace").decode()


class LocalTreasury:
    """A `Treasury` over a book that is its own, within one event loop.

    Guarantees: entries that are made while the disk is busy go out together with one write; they are made in the order
    in which they came. An asker that is cancelled leaves its call reserved, until somebody asks it again. A disk that is
    full is a TransientError, and nothing was entered.

    Args:
        paces: Rate limits by model; those not named have none. What was in flight before this treasury began is not known to them.
    """

    def __init__(self, book: CallBook, paces: Mapping[str, Pace] | None = None) -> None:
        self.book = book
        self._paces = dict(paces or {})
        self._in_flight: dict[int, tuple[Pace, int]] = {}  # by token: what it took of its model's tokens
        self._waiting: list[tuple[Callable[[], Any], asyncio.Future[Any]]] = []
        self._writing: asyncio.Task[None] | None = None

    async def reserve(self, call: Call) -> Granted | Known | KnownFailure | Denied:
        answer = await self._entered(partial(self.book.reserve, call))
        if not isinstance(answer, Granted):
            return cast(Known | KnownFailure | Denied, answer)
        pace, n_tokens = self._paces.setdefault(call.model, Pace()), call.n_input_bound + call.n_output_bound
        self._in_flight[answer.token] = pace, n_tokens
        return Granted(token=answer.token, delay_s=pace.reserve(n_tokens))

    async def commit(self, token: int, response: Mapping[str, Any], usage: Usage, cost_nano: int) -> None:
        pace, n_tokens = self._in_flight.pop(token, (Pace(), 0))
        pace.give_back(n_tokens - usage.n_input - usage.n_output)
        await self._entered(partial(self.book.commit, token, response, usage, cost_nano))

    async def fail(self, token: int, cause: CallEnd, reason: str, retry_after_s: float = 0.0) -> None:
        pace, n_tokens = self._in_flight.pop(token, (Pace(), 0))
        pace.give_back(0 if cause in ("timeout", "cancelled") else n_tokens)
        pace.hold(retry_after_s)
        await self._entered(partial(self.book.fail, token, cause, reason))

    async def memory(self, session: str) -> tuple[Remembered, ...]:
        return cast(tuple[Remembered, ...], await self._entered(partial(self.book.memory, session)))

    async def remember(self, session: str, remembered: Remembered) -> None:
        await self._entered(partial(self.book.remember, session, remembered))

    async def totals(self) -> Totals:
        """What was spent by now."""
        return cast(Totals, await self._entered(self.book.totals))

    async def prices(self) -> dict[str, Any]:
        """What models cost in this run."""
        return cast(dict[str, Any], await self._entered(lambda: self.book.prices))

    async def _entered(self, entry: Callable[[], Any]) -> Any:
        done: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._waiting.append((entry, done))
        if self._writing is None or self._writing.done():
            self._writing = asyncio.create_task(self._write())  # after this turn of the loop: its others come along
        return await done

    async def _write(self) -> None:
        while self._waiting:
            batch, self._waiting = self._waiting, []
            try:
                answers = await asyncio.to_thread(self._make, [entry for entry, _ in batch])
            except Exception as error:  # fenced, or the disk is full: none was made
                ours = isinstance(error, GenesysError)
                answers = [(False, error if ours else TransientError(f"calls were not booked: {error}"))] * len(batch)
            for (_, done), (succeeded, value) in zip(batch, answers, strict=True):
                if done.done():
                    continue  # its asker gave up
                if succeeded:
                    done.set_result(value)
                else:
                    done.set_exception(value)

    def _make(self, entries: list[Callable[[], Any]]) -> list[tuple[bool, Any]]:
        """Make some entries in one transaction; an entry that is refused leaves the others standing."""
        answers: list[tuple[bool, Any]] = []
        with self.book.together():
            for entry in entries:
                try:
                    answers.append((True, entry()))
                except sqlite3.Error:
                    raise
                except Exception as error:  # its asker's to handle
                    answers.append((False, error))
        return answers
