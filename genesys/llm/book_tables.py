"""The file of a run's calls. The sums that caps are held against are kept by the database itself, with each entry."""

from __future__ import annotations

import json
import sqlite3
import zlib
from pathlib import Path
from typing import Any, Literal

from genesys.errors import ConfigError

Mode = Literal["writer", "reader"]

VERSION = 1
MINUTE_S = 60
IN_FLIGHT = 1 << 62  # in place of a minute: it belongs to every day


def _booked(row: str, nano: str) -> str:
    """Statements that add an amount to the sums that a row of `calls` belongs to."""
    return f"""
    INSERT INTO sums VALUES ('run', '', {nano}), ('role', {row}.role, {nano}), ('session', {row}.session, {nano})
        ON CONFLICT DO UPDATE SET nano = nano + excluded.nano;
    INSERT INTO minutes VALUES (COALESCE(CAST({row}.ended_at / {MINUTE_S} AS INTEGER), {IN_FLIGHT}), {nano})
        ON CONFLICT DO UPDATE SET nano = nano + excluded.nano;"""


SCHEMA = f"""
BEGIN IMMEDIATE;
CREATE TABLE IF NOT EXISTS meta (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
INSERT OR IGNORE INTO meta VALUES ('version', '{VERSION}'), ('epoch', '0'), ('prices', '{{}}');

CREATE TABLE IF NOT EXISTS calls (
    token INTEGER PRIMARY KEY, id TEXT NOT NULL, session TEXT NOT NULL, step TEXT NOT NULL, attempt INTEGER NOT NULL,
    role TEXT NOT NULL, purpose TEXT NOT NULL, model TEXT NOT NULL, prompt_version TEXT NOT NULL, schema TEXT NOT NULL,
    seed TEXT NOT NULL, n_input_bound INTEGER NOT NULL, n_output_bound INTEGER NOT NULL, max_nano INTEGER NOT NULL,
    reserved_at REAL NOT NULL, state TEXT NOT NULL, booked_nano INTEGER NOT NULL, ended_at REAL,
    cause TEXT NOT NULL DEFAULT '', reason TEXT NOT NULL DEFAULT '',
    n_input INTEGER NOT NULL DEFAULT 0, n_output INTEGER NOT NULL DEFAULT 0, n_cached INTEGER NOT NULL DEFAULT 0,
    n_written INTEGER NOT NULL DEFAULT 0);
CREATE INDEX IF NOT EXISTS calls_by_id ON calls (id);
CREATE INDEX IF NOT EXISTS calls_by_step ON calls (session, step, attempt);
CREATE TABLE IF NOT EXISTS answers (token INTEGER PRIMARY KEY, response BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS memory (
    session TEXT NOT NULL, step TEXT NOT NULL, effect TEXT NOT NULL, result BLOB NOT NULL, PRIMARY KEY (session, step));

CREATE TABLE IF NOT EXISTS sums (scope TEXT, name TEXT, nano INTEGER NOT NULL, PRIMARY KEY (scope, name)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS minutes (minute INTEGER PRIMARY KEY, nano INTEGER NOT NULL);
CREATE TRIGGER IF NOT EXISTS call_entered AFTER INSERT ON calls BEGIN {_booked("NEW", "NEW.booked_nano")}
END;
CREATE TRIGGER IF NOT EXISTS call_changed AFTER UPDATE ON calls BEGIN
    {_booked("OLD", "-OLD.booked_nano")} {_booked("NEW", "NEW.booked_nano")}
END;
COMMIT;
"""


def open_calls(path: Path, mode: Mode) -> sqlite3.Connection:
    """A connection to the calls of a run, in write-ahead mode with full synchronisation; its callers take turns.

    Raises:
        ConfigError: There is no such file to read, or it is none of ours, or of a later version.
    """

    def connect(uri: str) -> sqlite3.Connection:
        return sqlite3.connect(uri, uri=True, isolation_level=None, timeout=30, check_same_thread=False)

    uri = path.absolute().as_uri()
    try:
        if mode == "writer":
            path.parent.mkdir(parents=True, exist_ok=True)
            db = connect(uri)
            db.execute("PRAGMA journal_mode=WAL")
            db.execute("PRAGMA synchronous=FULL")
        else:
            db = connect(f"{uri}?mode=ro")
            if db.execute("SELECT 1 FROM sqlite_master WHERE name = 'meta'").fetchall():
                return _known_version(db, path)
            db = connect("file::memory:")  # its writer was killed before it wrote anything
        db.executescript(SCHEMA)
    except sqlite3.DatabaseError as error:
        raise ConfigError(
            f"Cannot open the calls {str(path)!r}: {error}. Is this the folder of a run with agents?"
        ) from None
    return _known_version(db, path)


def _known_version(db: sqlite3.Connection, path: Path) -> sqlite3.Connection:
    (version,) = db.execute("SELECT value FROM meta WHERE name = 'version'").fetchone()
    if int(version) > VERSION:
        raise ConfigError(
            f"Cannot open {str(path)!r}: it is of version {version}; expected at most {VERSION}. Update Genesys."
        )
    return db


def pack(value: Any) -> bytes:
    """Plain data as it is stored."""
    return zlib.compress(json.dumps(value, separators=(",", ":")).encode(), 1)


def unpack(packed: bytes) -> Any:
    return json.loads(zlib.decompress(packed))
