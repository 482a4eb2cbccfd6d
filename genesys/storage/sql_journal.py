"""The journal in a relational database: all of it but the connection."""

from __future__ import annotations

import json
import time
import warnings
import zlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, Literal

from genesys.errors import ConfigError, FencedError
from genesys.evolution.events import Event, event_to_json
from genesys.storage.journal import BlobError, Entry, content_hash
from genesys.storage.reading import read_events

Mode = Literal["writer", "reader"]
Rows = list[tuple[Any, ...]]

_KEPT_SNAPSHOTS = 2
_PAGE = 200
_encode = json.JSONEncoder(separators=(",", ":"), allow_nan=False).encode
_COMPRESSION = 1  # programs shrink to a quarter at the fastest setting


class SqlJournal(ABC):
    """A `Journal` over four tables: `events`, `blobs`, `snapshots`, and `writer` with the last epoch given out.

    A subclass opens the connection, makes the tables, and then calls `_begin`. Statements mark values by `?`. A damaged last
    record, of an append that never returned, is dropped with a warning; damage before the last record is an error.
    """

    def __init__(self, place: str, clock: Callable[[], float] = time.time) -> None:
        self.place = place
        self._clock = clock
        self._epoch = 0
        self._last_seq = 0

    @abstractmethod
    def _rows(self, statement: str, values: Sequence[Any] = ()) -> Rows:
        """Run one statement; gives its rows, if any."""

    @abstractmethod
    def _write(self, statement: str, rows: Iterable[Sequence[Any]]) -> None:
        """Run one statement for each of several rows of values."""

    @abstractmethod
    def _transaction(self) -> AbstractContextManager[Any]:
        """A write transaction that holds off other writers from its beginning, so that what it reads stays true."""

    def _begin(self, mode: Mode) -> None:
        if mode == "writer":
            with self._transaction():
                self._rows("UPDATE writer SET epoch = epoch + 1")
                self._epoch = int(self._rows("SELECT epoch FROM writer")[0][0])
        self._last_seq = self._intact_end()

    def _intact_end(self) -> int:
        """The last sequence number whose record is whole; a writer cuts off a torn one after it."""
        rows = self._rows("SELECT seq, event, crc FROM events ORDER BY seq DESC LIMIT 1")
        if not rows or _is_whole(rows[0][1], rows[0][2]):
            return int(rows[0][0]) if rows else 0
        torn = int(rows[0][0])
        warnings.warn(
            f"{self.place}: the last record, {torn}, is damaged and was dropped.", RuntimeWarning, stacklevel=5
        )
        if self._epoch:
            with self._transaction():
                self._rows("DELETE FROM events WHERE seq >= ?", (torn,))
                self._rows("DELETE FROM snapshots WHERE seq >= ?", (torn,))
        return torn - 1

    @property
    def epoch(self) -> int:
        return self._epoch

    @property
    def last_seq(self) -> int:
        if not self._epoch:
            self._last_seq = self._intact_end()
        return self._last_seq

    def append(self, events: Sequence[Event], *, expected_seq: int, blobs: Sequence[bytes] = ()) -> int:
        """See `Journal.append`. Non-finite numbers in an event are refused with ValueError."""
        if not self._epoch:
            raise FencedError(f"Cannot append to {self.place}: it was opened to read. Open it as a writer.")
        now = self._clock()
        texts = [_encode(event_to_json(event)) for event in events]
        records = [(expected_seq + i, now, text, _crc(text)) for i, text in enumerate(texts, start=1)]
        packed = [(content_hash(blob), zlib.compress(blob, _COMPRESSION)) for blob in blobs]
        self._store(records, packed, expected_seq)
        self._last_seq = expected_seq + len(records)
        return self._last_seq

    def _store(self, records: Rows, blobs: Rows, expected_seq: int) -> None:
        with self._transaction():
            self._check_writer(expected_seq)
            self._write("INSERT INTO events VALUES (?, ?, ?, ?)", records)
            if blobs:  # most events name none
                self._write("INSERT INTO blobs VALUES (?, ?) ON CONFLICT DO NOTHING", blobs)

    def _check_writer(self, expected_seq: int) -> None:
        epoch, last = self._standing()
        if epoch != self._epoch:
            raise FencedError(
                f"Cannot append to {self.place}: writer {epoch} took over from writer {self._epoch}. Stop this process."
            )
        if last != expected_seq:
            raise FencedError(
                f"Cannot append to {self.place}: it stands at {last}; expected {expected_seq}. Open the journal anew."
            )

    def _standing(self) -> tuple[int, int]:
        """The epoch of the latest writer, and the last sequence number."""
        epoch, last = self._rows("SELECT epoch, (SELECT COALESCE(MAX(seq), 0) FROM events) FROM writer")[0]
        return epoch, last

    def read(self, from_seq: int = 1) -> Iterator[Entry]:
        """See `Journal.read`. ConfigError: a record before the last is damaged or missing, or is of a later version."""
        expected = max(1, from_seq)
        end = self.last_seq
        while rows := self._rows(
            "SELECT seq, time, event, crc FROM events WHERE seq >= ? AND seq <= ? ORDER BY seq LIMIT ?",
            (expected, end, _PAGE),
        ):
            n_whole = _n_whole(rows, expected)
            whole = rows[:n_whole]
            events = read_events([row[2] for row in whole])
            yield from map(Entry, [row[0] for row in whole], [row[1] for row in whole], events)
            expected += n_whole
            if n_whole < len(rows):
                raise ConfigError(f"Cannot read {self.place}: record {expected} is damaged. Restore it from a copy.")

    def blob(self, name: str) -> bytes:
        """See `Journal.blob`."""
        rows = self._rows("SELECT data FROM blobs WHERE name = ?", (name,))
        if not rows:
            raise BlobError(f"Cannot read blob {name[:12]!r}: {self.place} has none. Was it written by this run?")
        try:
            data = zlib.decompress(rows[0][0])
        except zlib.error:
            data = b""
        if content_hash(data) != name:
            raise BlobError(f"Cannot read blob {name[:12]!r}: its bytes no longer match its name; the disk damaged it.")
        return data

    def save_snapshot(self, seq: int, state: Mapping[str, Any]) -> None:
        text = _encode(state)
        with self._transaction():
            self._check_writer(self._last_seq)
            self._rows(
                "INSERT INTO snapshots VALUES (?, ?, ?) "
                "ON CONFLICT (seq) DO UPDATE SET state = excluded.state, crc = excluded.crc",
                (seq, text, _crc(text)),
            )
            self._rows(
                "DELETE FROM snapshots WHERE seq NOT IN (SELECT seq FROM snapshots ORDER BY seq DESC LIMIT ?)",
                (_KEPT_SNAPSHOTS,),
            )

    def load_snapshot(self) -> tuple[int, Mapping[str, Any]] | None:
        for seq, text, crc in self._rows("SELECT seq, state, crc FROM snapshots ORDER BY seq DESC"):
            if _is_whole(text, crc):
                return int(seq), json.loads(text)
        return None

    @abstractmethod
    def close(self) -> None: ...


def _crc(text: str) -> int:
    return zlib.crc32(text.encode())


def _n_whole(rows: Rows, first: int) -> int:
    """How many records, from the first, are there and undamaged."""
    numbers, _, texts, checks = zip(*rows, strict=True)
    if numbers[-1] - first == len(rows) - 1 and all(map(_is_whole, texts, checks)):  # numbers rise
        return len(rows)
    return next(k for k, row in enumerate(rows) if row[0] != first + k or not _is_whole(*row[2:]))


def _is_whole(text: object, crc: int) -> bool:
    return isinstance(text, str) and zlib.crc32(text.encode()) == crc
