"""The journal as one SQLite file."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from genesys.errors import ConfigError
from genesys.storage.sql_journal import Mode, Rows, SqlJournal

_SCHEMA = """
BEGIN IMMEDIATE;
CREATE TABLE IF NOT EXISTS events (
    seq INTEGER PRIMARY KEY, time REAL NOT NULL, event TEXT NOT NULL, crc INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS blobs (name TEXT PRIMARY KEY, data BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS snapshots (seq INTEGER PRIMARY KEY, state TEXT NOT NULL, crc INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS writer (id INTEGER PRIMARY KEY CHECK (id = 1), epoch INTEGER NOT NULL);
INSERT OR IGNORE INTO writer VALUES (1, 0);
COMMIT;
"""


class SqliteJournal(SqlJournal):
    """A `Journal` in write-ahead mode with full synchronisation: one transaction and one fsync an append.

    Opening it as a writer takes the next epoch, in the file itself, so that an earlier writer, even in another
    process, is refused at its next append. SQLite locks files: the folder must be on a local disk. A
    connection belongs to the thread that made it, unless `any_thread` says that the caller serialises calls.
    """

    def __init__(
        self, path: Path, *, mode: Mode = "writer", any_thread: bool = False, clock: Callable[[], float] = time.time
    ) -> None:
        super().__init__(str(path), clock)
        self.path = path
        uri = path.absolute().as_uri()
        if mode == "reader":
            self._db = _connect(f"{uri}?mode=ro", path, any_thread)
            if not self._rows("SELECT 1 FROM sqlite_master WHERE name = 'writer'"):
                self._db = _connect("file::memory:", path, any_thread)  # its writer was killed before it wrote anything
                self._db.executescript(_SCHEMA)
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._db = _connect(uri, path, any_thread)
            self._db.execute("PRAGMA journal_mode=WAL")
            self._db.execute("PRAGMA synchronous=FULL")
            self._db.executescript(_SCHEMA)
        self._begin(mode)

    def _rows(self, statement: str, values: Sequence[Any] = ()) -> Rows:
        return self._db.execute(statement, values).fetchall()

    def _write(self, statement: str, rows: Iterable[Sequence[Any]]) -> None:
        self._db.executemany(statement, rows)

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._db.execute("COMMIT")
        except BaseException:
            if self._db.in_transaction:  # a COMMIT for which the disk had no room may have rolled back by itself
                self._db.execute("ROLLBACK")
            raise

    def close(self) -> None:
        self._db.close()


def _connect(uri: str, path: Path, any_thread: bool) -> sqlite3.Connection:
    try:
        return sqlite3.connect(uri, uri=True, isolation_level=None, timeout=30, check_same_thread=not any_thread)
    except sqlite3.OperationalError as error:
        raise ConfigError(f"Cannot open the journal {str(path)!r}: {error}. Is this the folder of a run?") from None
