"""A run's folder finds its journal, in the folder or in a database, and every command works on either."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from actors.messages import VerifyTask
from genesys.api import Run
from genesys.cli import app
from genesys.config import RunConfig, load_config
from genesys.config.run import StorageConfig
from genesys.errors import ConfigError, FencedError
from genesys.evolution.events import Event, LeaseGranted, LeaseRefunded, ProposalFailed, VerificationRecorded
from genesys.storage import BlobError, RunStore, SqliteJournal, content_hash
from genesys.testing.journals import some_events
from tests.actors.in_process import World, run_world
from tests.storage.postgres_server import PASSWORD


@pytest.fixture(params=["folder", "database"])
def place(request: pytest.FixtureRequest) -> str:
    """What `storage.journal` says."""
    return str(request.getfixturevalue("postgres")) if request.param == "database" else ""


def make_world(folder: Path, place: str) -> World:
    RunStore(folder).take_place(place)
    return World(folder, RunConfig(quotas=(6, 2, 1), storage=StorageConfig(journal=place)))


def said_by(*arguments: str) -> str:
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 0, done.output
    return done.output


def test_a_run_in_a_database_is_a_run_like_any_other(tmp_path: Path, postgres: str) -> None:
    folder = tmp_path / "runs" / "Demo 1"
    run_world(make_world(folder, postgres))
    run = Run(folder)
    assert run.tree.finished == "every quota is spent" and run.report("gpt")["metrics"]
    assert not list(folder.glob("journal.sqlite*"))
    assert (folder / "journal.url").read_text().startswith(f"{postgres}#genesys_demo_1_")
    assert not [p for p in folder.rglob("*") if p.is_file() and PASSWORD.encode() in p.read_bytes()]
    (listed,) = json.loads(said_by("runs", str(tmp_path / "runs"), "--json"))
    assert listed["run"] == "Demo 1" and listed["verified"] == {"cpu-1": 6, "cpu-2": 2, "cpu-3": 1}
    assert len(json.loads(said_by("leaderboard", str(folder), "--json"))) == 6
    assert json.loads(said_by("show", str(folder), "gpt", "--json"))["name"] == "gpt"


def test_runs_of_one_name_in_one_database_are_two_runs(tmp_path: Path, postgres: str) -> None:
    stores = [RunStore(tmp_path / user / "demo-1") for user in ("a", "b")]
    for store in stores:
        store.take_place(postgres)
    stores[0].journal().append(some_events(), expected_seq=0)
    assert stores[1].journal(mode="reader").last_seq == 0
    assert stores[0].journal(mode="reader").last_seq == len(some_events())


def test_a_holder_that_wakes_up_late_writes_nothing(tmp_path: Path, place: str) -> None:
    """Its lease was taken back and given to another under a higher token: neither result nor report reach the journal."""

    async def work() -> None:
        world = make_world(tmp_path / "run", place)
        await world.start()
        await world.designer.design(await world.tree.next_task("Designer-1"))
        first = await world.scheduler.lease("Verifier-1", True)
        await world.scheduler.release("Verifier-1", "holder-died", "killed")
        second = await world.scheduler.lease("Verifier-2", True)
        assert isinstance(first, VerifyTask) and isinstance(second, VerifyTask) and first.design == second.design
        n_before, n_objects = len(events()), len(world.objects.values)
        await world.verifier.verify(first)
        late = world.objects.values[n_objects]  # the report that it wanted to settle
        assert len(events()) == n_before
        with pytest.raises(BlobError, match="has none"):
            RunStore(tmp_path / "run").journal(mode="reader").blob(content_hash(late))
        await world.verifier.verify(second)
        recorded = [event for event in events() if isinstance(event, VerificationRecorded)]
        assert [event.lease for event in recorded] == [second.lease] and second.lease > first.lease
        ended = [event.lease for event in events() if isinstance(event, LeaseRefunded)]
        assert ended == [first.lease] and len([e for e in events() if isinstance(e, LeaseGranted)]) == 2

    def events() -> list[object]:
        return [entry.event for entry in RunStore(tmp_path / "run").journal(mode="reader").read()]

    asyncio.run(work())


def test_callers_that_wait_together_share_writes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    append, batches = SqliteJournal.append, []

    def count(self: SqliteJournal, events: Sequence[Event], **options: Any) -> int:
        batches.append(len(events))
        return append(self, events, **options)

    async def work() -> None:
        world = make_world(tmp_path / "run", "")
        await world.start()
        monkeypatch.setattr(SqliteJournal, "append", count)
        await asyncio.gather(*(caller(world, i) for i in range(50)))

    async def caller(world: World, i: int) -> None:
        for _ in range(4):
            event = ProposalFailed(designer=f"Designer-{i}", operator="mutation", reason="duplicate")
            assert (await world.tree.append(event)).accepted

    asyncio.run(work())
    assert sum(batches) == 200 and len(batches) <= 40, "a write for each caller makes a busy run as slow as its disk"


def test_a_journal_stays_where_it_is(tmp_path: Path, postgres: str) -> None:
    in_folder, in_database = RunStore(tmp_path / "one"), RunStore(tmp_path / "two")
    in_folder.journal().close()
    in_database.take_place(postgres)
    in_database.take_place(postgres)
    in_folder.require_place(""), in_database.require_place(postgres)
    with pytest.raises(ConfigError, match=r"it is in its folder\. Restore storage\.journal"):
        in_folder.require_place(postgres)
    with pytest.raises(
        ConfigError, match="Cannot keep the journal of run 'two' in its folder: it is in 'postgresql://"
    ):
        in_database.require_place("")


def test_a_database_that_cannot_be_is_refused_before_a_run_begins(tmp_path: Path, postgres: str) -> None:
    store = RunStore(tmp_path / "run")
    with pytest.raises(ConfigError, match='database "nothing" does not exist'):
        store.require_place(postgres.replace("/postgres", "/nothing"))
    store.require_place(postgres)
    assert not store.exists and not store.root.exists()


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("postgresql://me:hunter2@host/db", "with a password in it"),
        ("postgresql://host/db?user=me&password=hunter2", "with a password in it"),
        ("mysql://host/db", "expected postgresql://USER@HOST/DATABASE"),
        ("postgresql://host", "expected postgresql://USER@HOST/DATABASE"),
        ("postgresql://[host/db", "expected postgresql://USER@HOST/DATABASE"),
    ],
)
def test_an_address_is_checked_when_the_configuration_is_read(tmp_path: Path, url: str, said: str) -> None:
    (tmp_path / "run.yaml").write_text(f"storage: {{journal: '{url}'}}")
    with pytest.raises(ConfigError, match=said) as raised:
        load_config(tmp_path / "run.yaml")
    assert "hunter2" not in str(raised.value)


def test_a_run_whose_database_is_away_is_listed_with_the_reason(tmp_path: Path) -> None:
    folder = tmp_path / "away-1"
    folder.mkdir()
    (folder / "journal.url").write_text("postgresql://me@127.0.0.1:1/db#genesys_away_1\n")
    RunStore(tmp_path / "here-1").journal().append(some_events(), expected_seq=0)
    away, here = json.loads(said_by("runs", str(tmp_path), "--json"))
    assert "Connection refused. Is the server up?" in away["error"] and here["designs"] == 2
    assert said_by("runs", str(tmp_path)).startswith("away-1: Cannot open the journal")


def test_a_run_has_one_folder(tmp_path: Path) -> None:
    store = RunStore(tmp_path / "run")
    assert not store.exists
    with pytest.raises(ConfigError, match="Cannot read run"):
        store.journal(mode="reader")
    journal = store.journal()
    journal.append(some_events(), expected_seq=0)
    assert store.exists and isinstance(journal, SqliteJournal)
    with pytest.raises(FencedError, match="opened to read"):
        store.journal(mode="reader").append([], expected_seq=0)


def test_a_run_that_was_only_configured_is_said_never_to_have_begun(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("quotas: [1]\n")
    with pytest.raises(ConfigError, match=r"its run never began. Start it: genesys evolve CONFIG\.$"):
        RunStore(tmp_path).journal(mode="reader")
