"""The books of a run's calls: one SQLite file, in which money is set aside before a call and booked after it.

    reserved ──> committed            answered: what it cost
        │  └───> failed               free
        │  └───> unknown              timeout: booked at its maximum, for nobody knows
        └──────> lost                 its asker went away, or its books died: booked at its maximum, may be asked again
                 denied               a cap had no room: nothing was sent

A lost call may still end as any of the first three, when its asker lived on. Ended is ended.
"""

from __future__ import annotations

import json
import logging
import math
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from genesys.errors import FencedError
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
    included, never passes a cap by an entry of `reserve`; each cost is booked once, whoever repeats it. Opening the file
    as a writer fences the writer before, and makes `lost` what was in flight. Entries of several threads take turns, and
    `close` waits for the one under way. It does not know what the provider charges: a call whose maximum was too low is
    booked as it was, with a MoneyError.

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
        self._turn = threading.RLock()  # SQLite's memory is gone at once when a connection is closed under a statement
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
        with self._turn:
            if self._is_entering:
                yield
                return
            with self._transaction():
                self._check_writer()
                yield

    def _check_writer(self) -> None:
        epoch = int(self._meta("epoch"))
        if not self._epoch or epoch != self._epoch:
            what = f"writer {epoch} took over from writer {self._epoch}" if self._epoch else "it was opened to read"
            raise FencedError(f"Cannot book in {self.path.name}: {what}. Stop this process.")

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

    def spent(self, session: str) -> int:
        """Nano-dollars that are booked for a session's calls."""
        return int(
            self._db.execute(
                "SELECT COALESCE(SUM(booked_nano), 0) FROM calls WHERE session = ?", (session,)
            ).fetchone()[0]
        )

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
        with self._turn:
            self._db.close()


def _clean(reason: str) -> str:
    """An endpoint's words as text that can be stored."""
    return reason[:MAX_REASON].encode(errors="backslashreplace").decode()
