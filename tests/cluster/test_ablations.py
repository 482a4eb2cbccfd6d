"""Configurations on equal budgets: what is cut, what is resumed, what the table says. The runs are real but for training."""

from __future__ import annotations

import json
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

import cluster.evolve
from cluster.ablations import Trial, plan_trials, results, results_to_json, run_trials, under_budget
from cluster.planning import make_plan
from genesys.cli import app
from genesys.cli.ablations import read_budget
from genesys.config import RunConfig, config_from_mapping, load_config
from genesys.errors import ConfigError, TransientError
from genesys.storage import RunStore
from tests.actors.in_process import World, run_world

CONFIGS = Path(__file__).parents[2] / "configs" / "ablations"
RULES = [CONFIGS / f"{name}.yaml" for name in ("rules_only", "random")]
BUDGET = {"designs": 3.0}


def evolve_in_process(config: RunConfig, folder: Path, *, resume: bool = False, **_: Any) -> None:
    assert resume == RunStore(folder).exists
    run_world(World(folder, config))


@pytest.fixture(scope="module")
def tried(tmp_path_factory: pytest.TempPathFactory) -> list[Trial]:
    trials = plan_trials(RULES, tmp_path_factory.mktemp("ablations"), n_seeds=2, budget=BUDGET)
    run_trials(trials, evolve_in_process)
    return trials


def test_each_configuration_gets_one_row_and_equal_designs(tried: list[Trial]) -> None:
    found = results(tried, BUDGET)
    assert [arm.name for arm in found.arms] == ["rules_only", "random"]
    assert all(arm.n_runs == 2 for arm in found.arms) and found.scale == "cpu-1"
    ends = {run.end.designs for by_seed in found.courses.values() for run in by_seed.values()}
    assert ends == {3} and found.amounts["designs"] == 3, "seeds are not counted, and nobody got more"
    assert found.arms[0].against is None and all(arm.against is not None for arm in found.arms[1:])
    plain = json.loads(json.dumps(results_to_json(found)))
    assert len(plain["runs"]) == 4 and plain["equal_amounts"].keys() == {"designs", "hours"}
    assert plain["runs"][0]["steps"][-1]["best"] == found.courses["rules_only"][0].end.best


def test_another_scale_may_be_asked_for(tried: list[Trial]) -> None:
    assert results(tried, BUDGET, "cpu-2").scale == "cpu-2"
    with pytest.raises(ConfigError, match=r"scale 'cpu-9': expected cpu-1, cpu-2, cpu-3"):
        results(tried, BUDGET, "cpu-9")


def test_what_is_finished_is_not_run_again(tried: list[Trial]) -> None:
    said: list[str] = []
    run_trials(tried, lambda *_, **__: pytest.fail("it was run again"), lambda _, how: said.append(how))
    assert said == ["is there"] * 4


def test_an_interrupted_list_goes_on(tmp_path: Path) -> None:
    trials = plan_trials(RULES, tmp_path, n_seeds=1, budget={"designs": 1.0})

    def interrupted(config: RunConfig, folder: Path, **options: Any) -> None:
        if folder == trials[1].folder:
            folder.mkdir()
            with closing(RunStore(folder).journal()) as journal:
                plan = make_plan(config, RunStore(folder))
                journal.append([plan.started], expected_seq=0)
            raise KeyboardInterrupt
        evolve_in_process(config, folder, **options)

    with pytest.raises(KeyboardInterrupt):
        run_trials(trials, interrupted)
    assert [arm.name for arm in results(trials, {}).arms] == ["rules_only", "random"], (
        "those there are compare at any time"
    )
    (tmp_path / "random-0" / "journal.sqlite").rename(tmp_path / "begun")
    RunStore(tmp_path / "random-0").journal().close()  # a kill before the first event
    assert [arm.name for arm in results(trials, {}).arms] == ["rules_only"]
    (tmp_path / "begun").rename(tmp_path / "random-0" / "journal.sqlite")
    said: list[tuple[str, str]] = []
    run_trials(trials, evolve_in_process, lambda trial, how: said.append((trial.name, how)))
    assert said == [("rules_only", "is there"), ("random", "goes on")]
    assert all(trial.is_finished for trial in trials)


def test_a_run_that_the_cluster_lost_is_taken_up_again(tmp_path: Path) -> None:
    (trial,) = plan_trials(RULES[:1], tmp_path, n_seeds=1, budget={"designs": 1.0})
    said: list[str] = []

    def unlucky(config: RunConfig, folder: Path, **options: Any) -> None:
        if len(said) < 3:
            raise TransientError("Cannot start Ray here: it is busy.")
        evolve_in_process(config, folder, **options)

    run_trials([trial], unlucky, lambda _, how: said.append(how))
    assert said == ["begins"] * 3 and trial.is_finished
    said.clear()
    with pytest.raises(TransientError, match="busy"):
        run_trials([replace(trial, folder=tmp_path / "other")], unlucky)  # nobody is told, so that it never ends


def test_a_budget_bounds_designs_hours_and_dollars() -> None:
    full = under_budget(load_config(CONFIGS / "full.yaml"), {"designs": 7.0, "usd": 3.0})
    assert full.quotas == (12, 12, 4) and full.agents.caps.run == 3.0, "five seeds beside the seven"
    assert under_budget(load_config(CONFIGS / "no_seeds.yaml"), {"designs": 7.0}).quotas == (7, 7, 4)
    card = {"verifiers": {"gpus_per_verification": 1, "deadline_s": 60}, "budget": {"usd_per_gpu_hour": 2.0}}
    bounded = under_budget(config_from_mapping(card), {"gpu_hours": 4.0, "usd": 3.0})
    assert (bounded.budget.gpu_hours, bounded.budget.usd, bounded.agents.caps.run) == (4.0, 3.0, None)


@pytest.mark.parametrize(
    ("budget", "message"),
    [
        ({"design": 3.0}, r"Cannot budget 'design': expected designs, gpu_hours, usd\. Did you mean 'designs'"),
        ({"designs": 0.5}, r"designs = 0\.5: expected a whole number above 0"),
        ({"usd": -1.0}, r"usd = -1: expected a number above 0"),
        ({"gpu_hours": 2.0}, r"Cannot cap gpu_hours: verifiers\.gpus_per_verification is 0"),
    ],
)
def test_budgets_that_cannot_be(tmp_path: Path, budget: dict[str, float], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        plan_trials(RULES[:1], tmp_path / "out", n_seeds=1, budget=budget)
    assert not (tmp_path / "out").exists()


def test_runs_of_another_budget_are_not_mixed_in(tmp_path: Path) -> None:
    plan_trials(RULES[:1], tmp_path, n_seeds=1, budget={"designs": 2.0})
    with pytest.raises(ConfigError, match=r"its runs were begun with .*\"designs\": 2\.0.* choose another --out"):
        plan_trials(RULES[:1], tmp_path, n_seeds=1, budget={"designs": 3.0})
    with pytest.raises(ConfigError, match=r"two configurations of one name"):
        plan_trials([RULES[0], RULES[0]], tmp_path, n_seeds=1, budget={"designs": 2.0})


def test_budgets_as_they_are_written() -> None:
    assert read_budget(["designs=20, usd=5", "gpu_hours=1.5"]) == {"designs": 20.0, "usd": 5.0, "gpu_hours": 1.5}
    assert read_budget([]) == {}
    with pytest.raises(ConfigError, match=r"Cannot read the budget 'designs'"):
        read_budget(["designs"])


def test_the_command_runs_and_tabulates(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster.evolve, "evolve", evolve_in_process)
    line = ["ablations", *map(str, RULES), "--out", str(tmp_path / "out"), "--runs", "1", "--budget", "designs=1"]
    shown = CliRunner().invoke(app, line, env={"COLUMNS": "160"})
    assert shown.exit_code == 0, shown.output
    assert "random, seed 0: begins" in shown.output and "rules_only" in shown.output and "1 designs" in shown.output
    assert "No claim against rules_only" in shown.output and "No run has cost a dollar" in shown.output
    again = CliRunner().invoke(app, [*line, "--table", "--json"])
    assert [row["name"] for row in json.loads(again.stdout)["configs"]] == ["rules_only", "random"]


def test_a_run_without_seeds_is_rated_by_the_others_reference(tmp_path: Path) -> None:
    (tmp_path / "bare.yaml").write_text('base: rules.yaml\nseeds: []\nreference: ""\n')
    (tmp_path / "rules.yaml").write_text("quotas: [9, 3, 1]\n")
    configs = [tmp_path / "bare.yaml", tmp_path / "rules.yaml"]
    trials = plan_trials(configs, tmp_path / "out", n_seeds=1, budget={"designs": 2.0})
    run_trials(trials, evolve_in_process)
    found, alone = results(trials, {}), results(trials[:1], {})
    mine, unrated = found.courses["bare"][0], alone.courses["bare"][0]
    assert mine.end.designs == 2 and mine.end.best is not None
    assert mine.end.best != unrated.end.best, "by itself it has no reference, and another axis"
