"""`genesys replay`: a run that was recorded in this process, taken again from its books."""

from __future__ import annotations

import gc
import json
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from genesys.cli import app
from genesys.errors import ConfigError
from genesys.testing._answers import Rates
from tests.actors.in_process import World, run_world
from tests.actors.scripted_client import ScriptedClient
from tests.actors.test_sessions import config
from tests.single_run import write_run
from tests.verification.reports import make_report


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with sessions that gave designs, some that gave none, and lessons."""
    folder = tmp_path_factory.mktemp("replay") / "run"
    rates = Rates(p_low_rating=0.3, p_search=0.3, p_reuse=0.2)
    run_world(World(folder, config({"llm": 1}, quotas=(7, 1, 1), lessons_every=4), client=ScriptedClient(rates)))
    gc.collect()  # its connections are closed: that changes files
    return folder


def sizes(folder: Path) -> dict[str, int]:
    """Of what is in a run's folder, but for the signs of SQLite's readers."""
    found = {path.name: path.stat().st_size for path in folder.iterdir()}
    return {name: n for name, n in found.items() if n and not name.endswith("-shm")}


def replay(folder: Path, *arguments: str) -> Result:
    return CliRunner().invoke(app, ["replay", str(folder), *arguments])


def test_a_recorded_run_ends_again_as_it_did(recorded: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("genesys.llm.client._litellm", lambda: pytest.fail("a request was made"))
    before = sizes(recorded)
    result = replay(recorded, "--json")
    assert result.exit_code == 0, result.output
    report = json.loads(result.stdout)
    with closing(sqlite3.connect(recorded / "calls.sqlite")) as book:
        ((n_calls,),) = book.execute("SELECT COUNT(*) FROM calls WHERE state = 'committed'")
    assert report["n"] == report["n_same"] >= 7 and not any(row["differs"] for row in report["sessions"])
    assert sum(row["n_calls"] for row in report["sessions"]) == n_calls
    assert {row["operator"] for row in report["sessions"]} >= {"mutation", "lessons"}
    assert sizes(recorded) == before, "nothing is written"
    assert "ended as the journal says" in replay(recorded).output


def test_what_does_not_come_out_again_is_told(recorded: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(recorded, tmp_path / "copy")
    with closing(sqlite3.connect(folder / "calls.sqlite")) as book:
        book.execute("DELETE FROM memory WHERE session = 'session-1' AND step NOT LIKE 'prompt%'")
        book.execute("UPDATE calls SET id = 'another' WHERE session = 'session-2'")
        book.commit()
    result = replay(folder)
    assert result.exit_code == 1
    told = " ".join(result.output.split())
    assert "session-1" in told and "the books do not remember what it gave" in told
    assert "session-2" in told and "holds no such call that ended" in told
    assert f"{json.loads(replay(folder, '--json').stdout)['n'] - 2} of " in told


def test_a_run_without_sessions_and_no_run(tmp_path: Path) -> None:
    write_run(tmp_path / "one", make_report(tmp_path, weights="").to_json())
    result = replay(tmp_path / "one")
    assert result.exit_code == 0 and "No session of language models ended" in result.output
    with pytest.raises(ConfigError, match="Cannot find run"):
        raise replay(tmp_path / "nosuch").exception  # type: ignore[misc]
