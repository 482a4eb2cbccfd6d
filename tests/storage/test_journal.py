"""The SQLite journal: conformance, damage, other processes, and the golden journal of version 1."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import pytest

from genesys.errors import ConfigError, FencedError
from genesys.evolution import EvolutionTree
from genesys.evolution.events import RunResumed, event_from_json
from genesys.evolution.fitness import RelativeFitness
from genesys.storage import BlobError, RunStore, SqliteJournal, content_hash, open_tree
from genesys.testing import JournalTestCase
from genesys.testing.journals import OpenJournal, replayed, some_events

GOLDEN = Path(__file__).parents[1] / "golden" / "journal_v1.jsonl"
GOLDEN_DIGEST = "c5bdb6a0256509fb354578f7c3ea6f6c1b3002be84d47452c6b357ff8d10abb5"


class TestSqliteJournal(JournalTestCase):
    @pytest.fixture
    def opened(self, tmp_path: Path) -> Iterator[OpenJournal]:
        journals: list[SqliteJournal] = []

        def open_journal(mode: Literal["writer", "reader"]) -> SqliteJournal:
            journals.append(SqliteJournal(tmp_path / "journal.sqlite", mode=mode))
            return journals[-1]

        yield open_journal
        for journal in journals:
            journal.close()


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


def test_a_half_written_last_record_is_survived(tmp_path: Path) -> None:
    path, events = tmp_path / "j.sqlite", some_events()
    written(path).close()
    damage(path, "UPDATE events SET event = substr(event, 1, 20) WHERE seq = (SELECT MAX(seq) FROM events)")
    with pytest.warns(RuntimeWarning, match=f"the last record, {len(events)}, is damaged and was dropped"):
        journal = SqliteJournal(path)
    assert [entry.event for entry in journal.read()] == events[:-1]
    assert journal.append(events[-1:], expected_seq=len(events) - 1) == len(events)
    assert open_tree(journal, RelativeFitness()).digest() == replayed(events)


def test_a_reader_passes_a_damaged_last_record_over(tmp_path: Path) -> None:
    path = tmp_path / "j.sqlite"
    written(path).close()
    damage(path, "UPDATE events SET crc = 0 WHERE seq = (SELECT MAX(seq) FROM events)")
    with pytest.warns(RuntimeWarning, match="was dropped"):
        reader = SqliteJournal(path, mode="reader")
    with pytest.warns(RuntimeWarning, match="was dropped"):
        assert len(list(reader.read())) == len(some_events()) - 1


@pytest.mark.parametrize("statement", ["UPDATE events SET crc = 0 WHERE seq = 2", "DELETE FROM events WHERE seq = 2"])
def test_damage_before_the_last_record_is_an_error(tmp_path: Path, statement: str) -> None:
    written(tmp_path / "j.sqlite").close()
    damage(tmp_path / "j.sqlite", statement)
    with pytest.raises(ConfigError, match="record 2 is damaged"):
        list(SqliteJournal(tmp_path / "j.sqlite").read())


def test_a_damaged_snapshot_is_passed_over(tmp_path: Path) -> None:
    journal = written(tmp_path / "j.sqlite")
    digest = open_tree(journal, RelativeFitness()).digest()
    journal.save_snapshot(3, {"version": 99})
    assert open_tree(journal, RelativeFitness()).digest() == digest, "a snapshot of a later version"
    damage(tmp_path / "j.sqlite", "UPDATE snapshots SET state = '{'")
    assert journal.load_snapshot() is None and open_tree(journal, RelativeFitness()).digest() == digest


def test_a_writer_killed_at_any_moment_leaves_whole_records(tmp_path: Path) -> None:
    path = tmp_path / "j.sqlite"
    code = (
        "import sys; from pathlib import Path; from genesys.storage import SqliteJournal\n"
        "from genesys.evolution.events import RunResumed\n"
        "journal = SqliteJournal(Path(sys.argv[1])); n = 0\n"
        "while True:\n    n = journal.append([RunResumed(reason=str(n))], expected_seq=n); print(n, flush=True)\n"
    )
    process = subprocess.Popen([sys.executable, "-c", code, str(path)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    told = [int(process.stdout.readline()) for _ in range(50)]
    process.kill()
    rest = process.stdout.read().split()
    process.wait()
    process.stdout.close()
    journal = SqliteJournal(path)
    assert journal.last_seq >= max(told[-1], *map(int, rest[:-1] or [0])), "an append that returned is lost"
    assert [entry.event for entry in journal.read()] == [RunResumed(reason=str(i)) for i in range(journal.last_seq)]


def test_a_run_has_one_folder(tmp_path: Path) -> None:
    store = RunStore(tmp_path / "run")
    assert not store.exists
    with pytest.raises(ConfigError, match="Cannot read run"):
        store.journal(mode="reader")
    journal = store.journal()
    journal.append(some_events(), expected_seq=0)
    assert store.exists
    with pytest.raises(FencedError, match="opened to read"):
        store.journal(mode="reader").append([], expected_seq=0)


def test_the_journal_of_version_1_still_replays() -> None:
    tree = EvolutionTree(RelativeFitness())
    for line in GOLDEN.read_text(encoding="utf-8").splitlines():
        tree.apply(event_from_json(json.loads(line)))
    assert tree.digest() == GOLDEN_DIGEST, "an old journal must give the state it always gave"


def test_a_journal_of_a_later_version_is_refused() -> None:
    with pytest.raises(ConfigError, match="this Genesys knows versions up to 1"):
        event_from_json({"kind": "run_resumed", "version": 2})


def test_a_damaged_blob_is_noticed(tmp_path: Path) -> None:
    journal = SqliteJournal(tmp_path / "journal.sqlite")
    journal.append(some_events()[:1], expected_seq=0, blobs=(b"program",))
    with sqlite3.connect(tmp_path / "journal.sqlite") as db:
        db.execute("UPDATE blobs SET data = ?", (zlib.compress(b"other"),))
    with pytest.raises(BlobError, match="no longer match its name"):
        journal.blob(content_hash(b"program"))
