"""`genesys operators`, and twins wherever designs are listed."""

from __future__ import annotations

import io
import json
import re
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from typer.testing import CliRunner

from genesys.api import Run
from genesys.cli import app
from genesys.cli.operators import _table, _tables
from genesys.config import RunConfig
from genesys.evolution import DesignState
from genesys.evolution.attribution import Attribution, Effect
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
    for said in (
        "Operators, by fitness at cpu-1",
        "Edits of mutation",
        "swap_unit",
        "Steps in the tree",
        "±",
        "inverse odds",
    ):
        assert said in shown
    assert f"{mutation['gain']:+.2f}" in shown


@pytest.mark.parametrize("width", [50, 60, 70, 80, 160])
def test_a_narrow_terminal_costs_columns_but_no_figure(monkeypatch: pytest.MonkeyPatch, width: int) -> None:
    steps = {"tree": 1234.5, "ast": 0.31, "behaviour": 0.62, "seed": 2.07}
    effect = Effect(
        name="mutation/move_hyperparameter", n_proposed=1001, n_sane=902, n_twins=103, n=804, n_better=201, gain=-1.234,
        low=-1.734, high=-0.734, n_effective=700.0, steps=steps,
    )  # fmt: skip
    found = Attribution(scale="cpu-1", operators=(), edits=(effect,), step_groups=())
    ((title, heading, effects),) = [table for table in _tables(found) if table[2]]
    monkeypatch.setenv("COLUMNS", str(width))
    console = Console(file=io.StringIO(), width=width)
    console.print(_table(title, heading, effects))
    shown = console.file.getvalue()  # type: ignore[attr-defined]
    left_out = re.findall(r"tree|ast|behav\.|seed", " ".join(shown.partition("Too narrow for ")[2].split()))
    figures = dict(zip(("tree", "ast", "behav.", "seed"), ("1234.50", "0.31", "0.62", "2.07"), strict=True))
    assert title == "Edits of mutation" and "mutation/" not in shown and "hyperparameter" in shown
    assert all((figure in shown) == (name not in left_out) for name, figure in figures.items())
    assert all(figure in shown for figure in ("1001", "902", "103", "804", "25%"))
    assert bool(left_out) == (width < 160) and all(len(line) <= width for line in shown.splitlines())


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
