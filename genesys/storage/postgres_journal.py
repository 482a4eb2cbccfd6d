"""The journal in a PostgreSQL database, which several runs may share."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlsplit

from genesys.errors import ConfigError, TransientError
from genesys.storage.sql_journal import Mode, Rows, SqlJournal

if TYPE_CHECKING:
    import psycopg

T = TypeVar("T")

_TABLES = """
    CREATE TABLE events (seq bigint PRIMARY KEY, time double precision NOT NULL, event text NOT NULL, crc bigint NOT NULL);
    CREATE TABLE blobs (name text PRIMARY KEY, data bytea NOT NULL);
    ALTER TABLE blobs ALTER COLUMN data SET STORAGE EXTERNAL;
    CREATE TABLE snapshots (seq bigint PRIMARY KEY, state text NOT NULL, crc bigint NOT NULL);
    CREATE TABLE writer (id integer PRIMARY KEY CHECK (id = 1), epoch bigint NOT NULL);
    INSERT INTO writer VALUES (1, 0);
"""
# A writer that is paused in the middle of an append holds the lock until the server ends its session: before others
# tire of waiting for it. Its append is then not there, and it learns so when it wakes up.
_SESSION = """
    SET search_path TO {schema};
    SET synchronous_commit TO on;
    SET idle_in_transaction_session_timeout TO '15s';
    SET lock_timeout TO '30s';
    SET default_transaction_read_only TO {read_only};
"""
_CONNECTION: dict[str, str | int] = {
    "connect_timeout": 10,
    "keepalives_idle": 30,
    "keepalives_interval": 10,
    "application_name": "genesys",
}
_USERS_MISTAKE = re.compile(
    r"password|authentication|does not exist|not permitted|pg_hba|permission denied", re.IGNORECASE
)


class ConnectionLost(TransientError):
    """The connection broke; what was under way is written whole, or not at all."""


class PostgresJournal(SqlJournal):
    """A `Journal` in a schema of its own of a PostgreSQL database: one transaction an append, flushed at its commit.

    Opening it as a writer takes the next epoch; each append locks the row that holds it, so that the check and the
    append are one. A connection that breaks is made anew for up to `patience_s`: an append whose answer was lost is
    looked for first, and never written twice. Serves any thread, one call at a time. Connect to the server itself or
    through a pooler of sessions: a pooler of transactions loses the session's settings.

    Args:
        url: `postgresql://USER@HOST:PORT/DATABASE`, with libpq's parameters after `?`.
        schema: Of the run; made by the first writer.

    Raises:
        ConfigError: No psycopg, no such database or schema, or the server refuses this user.
        TransientError: No server answers.
    """

    def __init__(
        self, url: str, schema: str, *, mode: Mode = "writer", clock: Callable[[], float] = time.time,
        patience_s: float = 30.0,
    ) -> None:  # fmt: skip
        super().__init__(f"{schema!r} of {_shown(url)}", clock)
        if not re.fullmatch(r"[a-z_][a-z0-9_]{0,62}", schema):
            raise ConfigError(f"Cannot use schema {schema!r}; expected at most 63 of a-z, 0-9 and _.")
        self._url, self._schema, self._mode, self._patience_s = url, schema, mode, patience_s
        self._in_transaction = False
        self._db = self._connect()
        with self._telling():
            self._require_schema()
        self._begin(mode)

    def _connect(self) -> psycopg.Connection[Any]:
        read_only = "on" if self._mode == "reader" else "off"
        return _connect(self._url, _SESSION.format(schema=self._schema, read_only=read_only), self.place)

    def _require_schema(self) -> None:
        if self._db.execute("SELECT 1 FROM pg_namespace WHERE nspname = %s", (self._schema,)).fetchone():
            return
        if self._mode == "reader":
            raise ConfigError(f"Cannot read the journal {self.place}: the database has no such schema. Was it removed?")
        with self._db.transaction():
            self._db.execute(f"CREATE SCHEMA {self._schema}".encode())
            self._db.execute(_TABLES.encode())

    @contextmanager
    def _telling(self) -> Iterator[None]:
        """Errors of the client as ours."""
        import psycopg

        try:
            yield
        except psycopg.errors.InsufficientPrivilege as error:
            raise ConfigError(
                f"Cannot use the journal {self.place}: {_said(error)}. Grant this user what it lacks."
            ) from error
        except psycopg.Error as error:
            # what breaks in the middle of several rows is an error of the client's, before the connection counts as closed
            is_broken = isinstance(error, psycopg.OperationalError) and error.sqlstate is None
            if is_broken:
                self._db.close()
            kind = ConnectionLost if is_broken or self._db.closed else TransientError
            raise kind(f"Cannot use the journal {self.place}: {_said(error)}. Try again.") from error

    def _rows(self, statement: str, values: Sequence[Any] = ()) -> Rows:
        def ask() -> Rows:
            with self._telling():
                cursor = self._db.execute(statement.replace("?", "%s").encode(), values)
                return cursor.fetchall() if cursor.description else []

        return ask() if self._in_transaction else self._outliving_connections(ask)

    def _write(self, statement: str, rows: Iterable[Sequence[Any]]) -> None:
        with self._telling(), self._db.cursor() as cursor:
            cursor.executemany(statement.replace("?", "%s").encode(), rows)

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._in_transaction = True
        try:
            with self._telling(), self._db.transaction():
                self._db.execute("SELECT epoch FROM writer FOR UPDATE")
                yield
        finally:
            self._in_transaction = False

    def _outliving_connections(self, work: Callable[[], T]) -> T:
        """Do a piece of work, and again on a new connection when it broke, until the patience ends."""
        deadline = None
        while True:
            try:
                return work()
            except ConnectionLost:
                deadline = deadline or time.monotonic() + self._patience_s
                if time.monotonic() > deadline:
                    raise
                self._reconnect(deadline)

    def _reconnect(self, deadline: float) -> None:
        while True:
            try:
                self._db = self._connect()
                return
            except TransientError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.2)

    def _store(self, records: Rows, blobs: Rows, expected_seq: int) -> None:
        store, lost = super()._store, False

        def store_once() -> None:
            nonlocal lost
            if not (lost and self._was_stored(records, expected_seq)):
                lost = True
                store(records, blobs, expected_seq)

        self._outliving_connections(store_once)

    def _was_stored(self, records: Rows, expected_seq: int) -> bool:
        """Whether an append whose answer was lost is in the journal: only this writer wrote in its epoch.

        The lock waits for the lost session, should the server still be at work on it.
        """
        with self._transaction():
            return bool(records) and self._standing() == (self._epoch, expected_seq + len(records))

    def save_snapshot(self, seq: int, state: Mapping[str, Any]) -> None:
        save = super().save_snapshot
        self._outliving_connections(lambda: save(seq, state))

    def close(self) -> None:
        self._db.close()


def require_database(url: str) -> None:
    """Make sure that a journal can be opened in a database.

    Raises:
        ConfigError: No psycopg, no such database, or this user may not make a schema there.
        TransientError: No server answers.
    """
    db = _connect(url, "", _shown(url))
    allowed = db.execute("SELECT has_database_privilege(current_database(), 'CREATE')").fetchone() == (True,)
    db.close()
    if not allowed:
        raise ConfigError(
            f"Cannot keep a journal in {_shown(url)}: this user may not make a schema there. Grant it CREATE on the database."
        )


def _connect(url: str, session: str, place: str) -> psycopg.Connection[Any]:
    try:
        import psycopg
    except ImportError as error:
        raise ConfigError(
            f"Cannot open the journal {place}: its client is not installed ({error}). "
            f"Install it: pip install 'genesys-evolution[postgres]'"
        ) from error
    try:
        given = psycopg.conninfo.conninfo_to_dict(url)
        db = psycopg.connect(psycopg.conninfo.make_conninfo("", **{**_CONNECTION, **given}), autocommit=True)
        db.execute(session.encode())
    except psycopg.Error as error:
        said = _said(error)
        if isinstance(error, psycopg.ProgrammingError) or _USERS_MISTAKE.search(said):
            raise ConfigError(
                f"Cannot open the journal {place}: {said}. Correct storage.journal, or the password in PGPASSWORD or ~/.pgpass."
            ) from error
        raise TransientError(f"Cannot open the journal {place}: {said}. Is the server up? Try again.") from error
    return db


def _shown(url: str) -> str:
    """A URL without its parameters."""
    return urlsplit(url)._replace(query="").geturl()


def _said(error: Exception) -> str:
    """What the server or its client said, first line: the others are hints, or the same of a host's next address."""
    return (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")
