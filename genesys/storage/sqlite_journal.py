"""The journal as one SQLite file."""

from __future__ import annotations

import json
import sqlite3
import time
import warnings
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from genesys.errors import ConfigError, FencedError
from genesys.evolution.events import Event, event_from_json, event_to_json
from genesys.storage.journal import BlobError, Entry, content_hash

_SCHEMA = """
CREATE TABLE IF NOT EXISTS events (
    seq INTEGER PRIMARY KEY, time REAL NOT NULL, event TEXT NOT NULL, crc INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS blobs (name TEXT PRIMARY KEY, data BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS snapshots (seq INTEGER PRIMARY KEY, state TEXT NOT NULL, crc INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS writer (id INTEGER PRIMARY KEY CHECK (id = 1), epoch INTEGER NOT NULL);
INSERT OR IGNORE INTO writer VALUES (1, 0);
"""
_KEPT_SNAPSHOTS = 2
_BATCH = 1000
_COMPRESSION = 1  # programs shrink to a quarter at the fastest setting


class SqliteJournal:
    """A `Journal` in write-ahead mode with full synchronisation: one transaction and one fsync an append.

    Opening it as a writer takes the next epoch, in the file itself, so that an earlier writer, even in another
    process, is refused at its next append. A damaged last record, of an append that never returned, is dropped with a
    warning; damage before the last record is an error. SQLite locks files: the folder must be on a local disk. A
    connection belongs to the thread that made it, unless `any_thread` says that the caller serialises calls.
    """

    def __init__(
        self, path: Path, *, mode: Literal["writer", "reader"] = "writer", any_thread: bool = False,
        clock: Callable[[], float] = time.time,
    ) -> None:  # fmt: skip
        self.path = path
        self._clock = clock
        self._epoch = 0
        if mode == "reader":
            self._db = _connect(f"{path.absolute().as_uri()}?mode=ro", path, any_thread)
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._db = _connect(path.absolute().as_uri(), path, any_thread)
            self._take_over()
        self._last_seq = self._intact_end()

    def _take_over(self) -> None:
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.execute("PRAGMA synchronous=FULL")
        self._db.executescript(_SCHEMA)
        with _Transaction(self._db):
            self._db.execute("UPDATE writer SET epoch = epoch + 1")
            self._epoch = int(self._db.execute("SELECT epoch FROM writer").fetchone()[0])

    def _intact_end(self) -> int:
        """The last sequence number whose record is whole; a writer cuts off a torn one after it."""
        rows = self._db.execute("SELECT seq, event, crc FROM events ORDER BY seq DESC LIMIT 2").fetchall()
        if not rows or _is_whole(rows[0][1], rows[0][2]):
            return int(rows[0][0]) if rows else 0
        torn = int(rows[0][0])
        warnings.warn(
            f"{self.path}: the last record, {torn}, is damaged and was dropped.", RuntimeWarning, stacklevel=4
        )
        if self._epoch:
            with _Transaction(self._db):
                self._db.execute("DELETE FROM events WHERE seq >= ?", (torn,))
                self._db.execute("DELETE FROM snapshots WHERE seq >= ?", (torn,))
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
            raise FencedError(f"Cannot append to {self.path}: it was opened to read. Open it as a writer.")
        now = self._clock()
        texts = [json.dumps(event_to_json(e), separators=(",", ":"), allow_nan=False) for e in events]
        with _Transaction(self._db):
            self._check_writer(expected_seq)
            rows = ((expected_seq + i, now, text, _crc(text)) for i, text in enumerate(texts, start=1))
            self._db.executemany("INSERT INTO events VALUES (?, ?, ?, ?)", rows)
            packed = ((content_hash(blob), zlib.compress(blob, _COMPRESSION)) for blob in blobs)
            self._db.executemany("INSERT OR IGNORE INTO blobs VALUES (?, ?)", packed)
        self._last_seq = expected_seq + len(texts)
        return self._last_seq

    def _check_writer(self, expected_seq: int) -> None:
        epoch, last = self._db.execute(
            "SELECT epoch, (SELECT COALESCE(MAX(seq), 0) FROM events) FROM writer"
        ).fetchone()
        if epoch != self._epoch:
            raise FencedError(
                f"Cannot append to {self.path}: writer {epoch} took over from writer {self._epoch}. Stop this process."
            )
        if last != expected_seq:
            raise FencedError(
                f"Cannot append to {self.path}: it stands at {last}; expected {expected_seq}. Open the journal anew."
            )

    def read(self, from_seq: int = 1) -> Iterator[Entry]:
        """See `Journal.read`. ConfigError: a record before the last is damaged or missing, or is of a later version."""
        expected = max(1, from_seq)
        end = self.last_seq
        while rows := self._db.execute(
            "SELECT seq, time, event, crc FROM events WHERE seq >= ? AND seq <= ? ORDER BY seq LIMIT ?",
            (expected, end, _BATCH),
        ).fetchall():
            for seq, stamp, text, crc in rows:
                if seq != expected or not _is_whole(text, crc):
                    raise ConfigError(
                        f"Cannot read {self.path}: record {expected} is damaged. Restore the file from a copy."
                    )
                yield Entry(seq, stamp, event_from_json(json.loads(text)))
                expected += 1

    def blob(self, name: str) -> bytes:
        """See `Journal.blob`."""
        row = self._db.execute("SELECT data FROM blobs WHERE name = ?", (name,)).fetchone()
        if row is None:
            raise BlobError(f"Cannot read blob {name[:12]!r}: {self.path} has none. Was it written by this run?")
        try:
            data = zlib.decompress(row[0])
        except zlib.error:
            data = b""
        if content_hash(data) != name:
            raise BlobError(f"Cannot read blob {name[:12]!r}: its bytes no longer match its name; the disk damaged it.")
        return data

    def save_snapshot(self, seq: int, state: Mapping[str, Any]) -> None:
        text = json.dumps(state, separators=(",", ":"), allow_nan=False)
        with _Transaction(self._db):
            self._check_writer(self._last_seq)
            self._db.execute("INSERT OR REPLACE INTO snapshots VALUES (?, ?, ?)", (seq, text, _crc(text)))
            self._db.execute(
                "DELETE FROM snapshots WHERE seq NOT IN (SELECT seq FROM snapshots ORDER BY seq DESC LIMIT ?)",
                (_KEPT_SNAPSHOTS,),
            )

    def load_snapshot(self) -> tuple[int, Mapping[str, Any]] | None:
        for seq, text, crc in self._db.execute("SELECT seq, state, crc FROM snapshots ORDER BY seq DESC"):
            if _is_whole(text, crc):
                return int(seq), json.loads(text)
        return None

    def close(self) -> None:
        self._db.close()


class _Transaction:
    """A write transaction that takes the lock at once, so that what it reads stays true until it writes."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db

    def __enter__(self) -> None:
        self._db.execute("BEGIN IMMEDIATE")

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._db.execute("ROLLBACK" if kind else "COMMIT")


def _connect(uri: str, path: Path, any_thread: bool) -> sqlite3.Connection:
    try:
        return sqlite3.connect(uri, uri=True, isolation_level=None, timeout=30, check_same_thread=not any_thread)
    except sqlite3.OperationalError as error:
        raise ConfigError(f"Cannot open the journal {str(path)!r}: {error}. Is this the folder of a run?") from None


def _crc(text: str) -> int:
    return zlib.crc32(text.encode())


def _is_whole(text: object, crc: int) -> bool:
    return isinstance(text, str) and _crc(text) == crc
