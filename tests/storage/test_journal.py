"""The SQLite journal: conformance, and damage that only a file can have."""

from __future__ import annotations

import sqlite3
import zlib
from functools import partial
from pathlib import Path

import pytest

from genesys.errors import ConfigError
from genesys.evolution.fitness import RelativeFitness
from genesys.storage import BlobError, SqliteJournal, content_hash, open_tree
from genesys.testing import JournalTestCase
from genesys.testing.journals import OpenJournal, Spoil, some_events


class TestSqliteJournal(JournalTestCase):
    @pytest.fixture
    def opener(self, tmp_path: Path) -> OpenJournal:
        return partial(SqliteJournal, tmp_path / "journal.sqlite")

    @pytest.fixture
    def spoil(self, tmp_path: Path) -> Spoil:
        return lambda seq: damage(
            tmp_path / "journal.sqlite", f"UPDATE events SET event = 'x' || substr(event, 2) WHERE seq = {seq}"
        )


def written(path: Path) -> SqliteJournal:
    journal = SqliteJournal(path, clock=lambda: 12.5)
    journal.append(some_events(), expected_seq=0)
    return journal


def damage(path: Path, statement: str) -> None:
    with sqlite3.connect(path) as db:
        db.execute(statement)
    db.close()


def test_times_come_from_the_clock_given(tmp_path: Path) -> None:
    assert {entry.time for entry in written(tmp_path / "j.sqlite").read()} == {12.5}


def test_a_missing_record_is_an_error(tmp_path: Path) -> None:
    written(tmp_path / "j.sqlite").close()
    damage(tmp_path / "j.sqlite", "DELETE FROM events WHERE seq = 2")
    with pytest.raises(ConfigError, match="record 2 is damaged"):
        list(SqliteJournal(tmp_path / "j.sqlite").read())


def test_a_damaged_snapshot_is_passed_over(tmp_path: Path) -> None:
    journal = written(tmp_path / "j.sqlite")
    digest = open_tree(journal, RelativeFitness()).digest()
    journal.save_snapshot(3, {"version": 99})
    assert open_tree(journal, RelativeFitness()).digest() == digest, "a snapshot of a later version"
    damage(tmp_path / "j.sqlite", "UPDATE snapshots SET state = '{'")
    assert journal.load_snapshot() is None and open_tree(journal, RelativeFitness()).digest() == digest


def test_a_damaged_blob_is_noticed(tmp_path: Path) -> None:
    journal = SqliteJournal(tmp_path / "journal.sqlite")
    journal.append(some_events()[:1], expected_seq=0, blobs=(b"program",))
    with sqlite3.connect(tmp_path / "journal.sqlite") as db:
        db.execute("UPDATE blobs SET data = ?", (zlib.compress(b"other"),))
    with pytest.raises(BlobError, match="no longer match its name"):
        journal.blob(content_hash(b"program"))


def test_a_journal_whose_writer_was_killed_before_its_tables_stood_is_empty(tmp_path: Path) -> None:
    path = tmp_path / "journal.sqlite"
    with sqlite3.connect(path) as db:
        db.execute("PRAGMA journal_mode=WAL")
    db.close()
    reader = SqliteJournal(path, mode="reader")
    assert reader.last_seq == 0 and list(reader.read()) == [] and reader.load_snapshot() is None
    assert SqliteJournal(path).append(some_events(), expected_seq=0) == len(some_events())
