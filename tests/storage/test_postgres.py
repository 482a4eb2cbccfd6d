"""The PostgreSQL journal against a real server: conformance, broken connections, several runs, bad addresses."""

from __future__ import annotations

import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import closing
from functools import partial
from random import Random
from typing import Any

import pytest

from genesys.errors import ConfigError, FencedError, TransientError
from genesys.evolution.events import RunResumed
from genesys.storage import PostgresJournal, content_hash
from genesys.storage.postgres_journal import ConnectionLost, require_database
from genesys.storage.sql_journal import SqlJournal
from genesys.testing import JournalTestCase
from genesys.testing.journals import OpenJournal, Spoil, some_events
from tests.storage.postgres_server import PASSWORD, PostgresServer


def execute(url: str, statement: str, *values: Any) -> list[Any]:
    import psycopg

    with psycopg.connect(url, autocommit=True) as db:
        cursor = db.execute(statement, values)
        return list(cursor.fetchall()) if cursor.description else []


class TestPostgresJournal(JournalTestCase):
    @pytest.fixture
    def opener(self, postgres: str) -> OpenJournal:
        return partial(PostgresJournal, postgres, "run_1")

    @pytest.fixture
    def spoil(self, postgres: str) -> Spoil:
        return lambda seq: (
            execute(postgres, "UPDATE run_1.events SET event = overlay(event PLACING 'x' FROM 2) WHERE seq = %s", seq)
            and None
        )


@pytest.fixture
def journal(postgres: str) -> Iterator[PostgresJournal]:
    with closing(PostgresJournal(postgres, "run_1", patience_s=20)) as journal:
        yield journal


def numbered(n: int) -> RunResumed:
    return RunResumed(reason=str(n))


def test_runs_share_a_database_and_know_nothing_of_each_other(postgres: str, journal: PostgresJournal) -> None:
    journal.append(some_events()[:2], expected_seq=0, blobs=[b"one"])
    with closing(PostgresJournal(postgres, "run_2")) as other:
        assert (other.last_seq, other.epoch) == (0, 1)
        other.append(some_events()[:1], expected_seq=0)
        with pytest.raises(LookupError, match="has none"):
            other.blob(content_hash(b"one"))
    assert journal.append([numbered(1)], expected_seq=2) == 3, "the other run's writer fences nobody here"


def test_an_append_is_flushed_before_it_returns(journal: PostgresJournal) -> None:
    assert journal._rows("SHOW synchronous_commit") == [("on",)]
    assert journal._rows("SHOW fsync") == [("on",)]


def test_appends_survive_connections_that_break_at_any_moment(postgres: str, journal: PostgresJournal) -> None:
    ended, rng = threading.Event(), Random(5)

    def break_connections() -> None:
        while not ended.wait(rng.uniform(0.005, 0.1)):
            execute(postgres, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid()")

    breaker = threading.Thread(target=break_connections)
    breaker.start()
    n, connections = 0, [journal._db]
    try:
        while len(connections) < 15:
            n = journal.append([numbered(n)], expected_seq=n, blobs=[str(n).encode()])
            if journal._db is not connections[-1]:
                connections.append(journal._db)
    finally:
        ended.set()
        breaker.join()
    assert [entry.event for entry in journal.read()] == [numbered(i) for i in range(n)]
    assert journal.blob(content_hash(str(n - 1).encode()))


@pytest.mark.parametrize("written", [False, True])
def test_an_append_whose_answer_was_lost_is_written_once(
    journal: PostgresJournal, monkeypatch: pytest.MonkeyPatch, written: bool
) -> None:
    store, calls = SqlJournal._store, []

    def store_and_lose(self: SqlJournal, *arguments: Any) -> None:
        calls.append(arguments)
        if written or len(calls) > 1:
            store(self, *arguments)
        if len(calls) == 1:
            journal._db.close()
            raise ConnectionLost("the server's answer was lost")

    monkeypatch.setattr(SqlJournal, "_store", store_and_lose)
    assert journal.append([numbered(0), numbered(1)], expected_seq=0) == 2
    assert [entry.event for entry in journal.read()] == [numbered(0), numbered(1)]
    assert len(calls) == (1 if written else 2)


def test_a_reader_reads_on_over_a_broken_connection(
    postgres: str, journal: PostgresJournal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("genesys.storage.sql_journal._PAGE", 10)
    events = [numbered(i) for i in range(25)]
    journal.append(events, expected_seq=0)
    with closing(PostgresJournal(postgres, "run_1", mode="reader")) as reader:
        entries = reader.read()
        seen = [next(entries).event for _ in range(10)]
        reader._db.close()
        assert [*seen, *(entry.event for entry in entries)] == events


def test_a_lost_connection_hides_no_later_writer(postgres: str, journal: PostgresJournal) -> None:
    journal.append([numbered(0)], expected_seq=0)
    journal._db.close()
    with closing(PostgresJournal(postgres, "run_1")) as later:
        with pytest.raises(FencedError, match="took over"):
            journal.append([numbered(1)], expected_seq=1)
        assert later.last_seq == 1


def test_the_journal_outlives_a_crash_of_its_server(postgres_server: PostgresServer, journal: PostgresJournal) -> None:
    journal.append(some_events(), expected_seq=0, blobs=[b"program"])
    postgres_server.restart()
    n = journal.append([numbered(1)], expected_seq=len(some_events()))
    assert [entry.event for entry in journal.read()] == [*some_events(), numbered(1)]
    assert n == journal.last_seq and journal.blob(content_hash(b"program")) == b"program"


def test_a_writer_paused_in_the_middle_of_an_append_stops_nobody_for_ever(
    postgres: str, journal: PostgresJournal, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = journal._write

    def write_after_a_pause(*arguments: Any) -> None:
        monkeypatch.undo()
        monkeypatch.setenv("PGPASSWORD", PASSWORD)
        with closing(PostgresJournal(postgres, "run_1")) as later:  # waits for the lock that the paused one holds
            assert later.append([numbered(1)], expected_seq=0) == 1
        write(*arguments)

    journal._db.execute("SET idle_in_transaction_session_timeout TO '200ms'")
    monkeypatch.setattr(journal, "_write", write_after_a_pause)
    with pytest.raises(FencedError, match="took over"):
        journal.append([numbered(0)], expected_seq=0)
    with closing(PostgresJournal(postgres, "run_1", mode="reader")) as reader:
        assert [entry.event for entry in reader.read()] == [numbered(1)]


def test_a_reader_needs_a_journal(postgres: str) -> None:
    with pytest.raises(ConfigError, match="the database has no such schema"):
        PostgresJournal(postgres, "run_9", mode="reader")


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


@pytest.mark.parametrize(
    ("change", "error", "said"),
    [
        ({"port": 0}, TransientError, "Connection refused. Is the server up?"),
        ({"database": "nothing"}, ConfigError, 'database "nothing" does not exist. Correct storage.journal'),
        (
            {"password": "wrong"},
            ConfigError,
            "password authentication failed for user .* or the password in PGPASSWORD",
        ),
        ({"password": ""}, ConfigError, "no password supplied"),
        ({"schema": "Run;"}, ConfigError, "expected at most 63 of a-z"),
        ({"query": "?colour=red"}, ConfigError, "invalid URI query parameter"),
    ],
)
def test_what_is_wrong_with_an_address_is_one_sentence(
    postgres: str, monkeypatch: pytest.MonkeyPatch, change: dict[str, Any], error: type[Exception], said: str
) -> None:
    base, _, database = postgres.rpartition("/")
    if "port" in change:
        base = f"postgresql://genesys@127.0.0.1:{free_port()}"
    if "password" in change:
        monkeypatch.setenv("PGPASSWORD", change["password"])
    url = f"{base}/{change.get('database', database)}{change.get('query', '')}"
    with pytest.raises(error, match=said) as raised:
        PostgresJournal(url, change.get("schema", "run_1"))
    assert str(raised.value).startswith("Cannot ") and "\n" not in str(raised.value)


def test_a_user_without_rights_is_told_which(postgres: str) -> None:
    execute(postgres, f"CREATE ROLE guest LOGIN PASSWORD '{PASSWORD}'")
    guests = postgres.replace("genesys@", "guest@")
    try:
        with pytest.raises(ConfigError, match="permission denied for database"):
            PostgresJournal(guests, "run_1")
        with pytest.raises(ConfigError, match="Grant it CREATE on the database"):
            require_database(guests)
    finally:
        execute(postgres, "DROP ROLE guest")


def test_without_a_client_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(ConfigError, match=r"pip install 'genesys-evolution\[postgres\]'"):
        PostgresJournal("postgresql://localhost/x", "run_1")
