"""`genesys agents RUN`: the money is the books', and the sessions are the journal's."""

from __future__ import annotations

import json
from contextlib import closing
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner, Result

from cluster.planning import plain
from genesys.cli import app
from genesys.config import RunConfig
from genesys.llm.book import CallBook
from genesys.llm.calls import CALLS_FILE
from genesys.storage import RunStore
from tests.actors.in_process import World, run_world
from tests.actors.scripted_client import ScriptedClient
from tests.actors.test_sessions import books, config


def show(folder: Path, *arguments: str) -> Result:
    return CliRunner().invoke(app, ["agents", str(folder), *arguments], env={"COLUMNS": "160"})


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    """A run in which language models designed, wrote lessons, and reviewed planted proposals."""
    world = World(
        tmp_path_factory.mktemp("runs") / "demo-1",
        config({"llm": 1}, lessons_every=4, planted=1.0),
        client=ScriptedClient(),
    )
    run_world(world)
    return world


def test_the_money_is_that_of_the_books(world: World) -> None:
    shown = show(world.folder, "--json")
    found: dict[str, Any] = json.loads(shown.output)
    with closing(CallBook(world.folder / CALLS_FILE, mode="reader")) as book:
        totals = book.totals()
    assert found["spent"]["run"]["usd"] == pytest.approx(totals.run.usd) and found["spent"]["run"]["usd"] > 0
    assert sum(s["usd"] for s in found["sessions"]) == pytest.approx(totals.run.usd), "each session booked what it cost"
    assert {"coder", "reviewer", "scribe"} <= set(found["spent"]["roles"])
    assert found["cap_usd"] == 50


def test_sessions_attempts_and_planted_reviews_are_those_of_the_run(world: World) -> None:
    found, tree = json.loads(show(world.folder, "--json").output), books(world)
    ended = len(tree.authored) + len(tree.failed_sessions) + len(tree.lessons)
    assert len(found["sessions"]) == ended + len(tree.open_sessions)
    assert found["attempts"]["coder"]["n_asked"] >= found["attempts"]["coder"]["n_useful"] > 0
    assert found["calibration"]["planted"]["n"] > 0
    assert {arm["role"] for arm in found["arms"]} >= {"coder", "proposer"}
    assert found["lessons"][-1]["text"] == tree.lessons[-1].text


def test_it_reads_well(world: World) -> None:
    shown = show(world.folder)
    assert shown.exit_code == 0, shown.output
    for words in ("Calls by model", "Calls by role", "What models earned", "The latest sessions", "of 50.00 USD"):
        assert words in shown.output
    assert "known to be bad" in shown.output and "Lessons, after" in shown.output


def test_a_run_of_rules_says_so(tmp_path: Path) -> None:
    world = World(tmp_path / "rules-1", RunConfig(quotas=(2, 1, 0), seeds=("gpt",)))
    run_world(world)
    shown = show(world.folder)
    assert shown.output.startswith("No session of language models was started in this run.")
    assert "there is no such run" not in shown.output and shown.exit_code == 0


def test_the_cap_is_the_one_that_the_run_was_last_taken_up_with(world: World) -> None:
    path = RunStore(world.folder).config_path
    path.write_text(yaml.safe_dump(plain(asdict(config({"llm": 1}, caps={"run": 70})))), encoding="utf-8")
    assert "of 70.00 USD" in show(world.folder).output
    path.write_text("nonsense: 1", encoding="utf-8")
    assert "of 50.00 USD" in show(world.folder).output
    path.unlink()


def test_an_unknown_scale_is_named(world: World) -> None:
    assert "Cannot find scale 'cpu-9'" in str(show(world.folder, "--scale", "cpu-9").exception)
