"""`genesys operators`, and twins wherever designs are listed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from genesys.api import Run
from genesys.cli import app
from genesys.config import RunConfig
from genesys.evolution import DesignState
from tests.actors.in_process import World, run_world
from tests.actors.kindred import KindredCage


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A whole evolution without training, with twins in it."""
    folder = tmp_path_factory.mktemp("runs") / "kin-1"
    run_world(World(folder, RunConfig(quotas=(16, 4, 2), seeds=("gpt", "retnet")), cage=KindredCage()))
    return folder


def genesys(*arguments: str) -> str:
    done = CliRunner().invoke(app, [*arguments], env={"COLUMNS": "160"})
    assert done.exit_code == 0, done.output
    return done.output


def as_json(*arguments: str) -> Any:
    return json.loads(genesys(*arguments, "--json"))


def test_operators_are_listed_with_what_they_earned(run: Path) -> None:
    found, tree = as_json("operators", str(run)), Run(run).tree
    by_name = {effect["name"]: effect for effect in found["operators"]}
    made = [record for record in tree if not record.is_seed]
    assert sum(e["n_proposed"] for e in by_name.values()) == len(made) and found["scale"] == "cpu-1"
    mutation = by_name["mutation"]
    assert mutation["n_twins"] == sum(r.state is DesignState.TWIN for r in made if r.operator == "mutation")
    assert mutation["low"] < mutation["gain"] < mutation["high"] and mutation["steps"]["tree"] > 0
    assert {e["name"] for e in found["edits"]} >= {"mutation/swap_unit"} and found["step_groups"]
    shown = genesys("operators", str(run))
    for said in ("Operators, by fitness at cpu-1", "mutation/swap_unit", "Steps in the tree", "±", "inverse odds"):
        assert said in shown
    assert f"{mutation['gain']:+.2f}" in shown


def test_an_unknown_scale_is_refused(run: Path) -> None:
    done = CliRunner().invoke(app, ["operators", str(run), "--scale", "cpu-9"])
    assert done.exit_code != 0 and "this run has cpu-1, cpu-2, cpu-3" in str(done.exception)


def test_a_twin_shows_its_originals_results(run: Path) -> None:
    tree = Run(run).tree
    twin = next(r for r in tree if r.inherited_from and tree.record(r.inherited_from).runs)
    original = tree.record(twin.inherited_from)
    shown = genesys("show", str(run), twin.id)
    assert f"twin of {original.name}" in shown and "cpu-1" in shown and "committed" in shown
    assert twin.name in genesys("show", str(run), original.id)
    found = as_json("show", str(run), twin.id)
    assert found["inherited_from"] == original.id and found["state"] == "twin"
    assert [r["metrics"] for r in found["runs"]] == [r.metrics for r in original.runs]


def test_the_leaderboard_names_the_twins_of_a_row(run: Path) -> None:
    tree, rows = Run(run).tree, as_json("leaderboard", str(run))
    for row in rows:
        assert row["twins"] == sorted(r.name for r in tree if r.inherited_from == row["design"])
    assert any(row["twins"] for row in rows)
    assert not {row["design"] for row in rows} & {r.id for r in tree if r.inherited_from}
    assert "which compute the same: " in genesys("leaderboard", str(run))


def test_the_family_tree_says_whose_twin_one_is(run: Path) -> None:
    tree = Run(run).tree
    twin = next(r for r in tree if r.inherited_from and tree.record(r.inherited_from).runs)
    assert f"twin of {tree.record(twin.inherited_from).name}" in " ".join(genesys("tree", str(run)).split())
    (entry,) = [e for e in as_json("tree", str(run)) if e["design"] == twin.id]
    assert entry["fitness"] == {s: f.value for s, f in tree.ratings.fitness(twin.inherited_from).items()}
