"""`genesys plan`: every configuration that ships can be planned, and mistakes get one sentence."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from genesys.cli import app
from genesys.cli.plan import workload
from genesys.config import load_config, load_design
from genesys.errors import ConfigError
from genesys.evaluate.harness.suites import load_suite, suite_names
from genesys.ladder import PAPER_SCALES, load_hardware, plan_run
from genesys.ladder.cost import questions_of

ROOT = Path(__file__).parents[2]
CONFIGS = sorted([*ROOT.glob("configs/*.yaml"), *ROOT.glob("examples/*.yaml")])


def run(*arguments: str) -> str:
    result = CliRunner().invoke(app, ["plan", *arguments], catch_exceptions=False)
    assert result.exit_code == 0
    return result.stdout


@pytest.mark.parametrize("path", CONFIGS, ids=lambda p: p.name)
def test_every_configuration_can_be_planned(path: Path) -> None:
    config = load_config(path)
    work = workload(config)
    assert all(asked.n_questions and not asked.unknown for asked in work.questions.values())
    for hardware in load_hardware().values():
        plan = plan_run(work, hardware)
        assert plan.device_hours > 0 and plan.disk_bytes > 0 and 0 < plan.busy_share <= 1 + 1e-9
    for design in (*config.seeds, *config.designs):
        assert not load_design(design).open_slots()


def test_the_sizes_of_all_suites_are_on_record() -> None:
    for name in suite_names():
        asked = questions_of({task.task: task.limit for task in load_suite(name).tasks})
        assert not asked.unknown and asked.n_questions > 1_000


def test_the_papers_configuration_gives_the_papers_hours() -> None:
    out = json.loads(run(str(ROOT / "configs" / "paper.yaml"), "--hardware", "reference", "--json"))
    (plan,) = out["plans"]
    assert (round(plan["without_ladder_hours"]), round(plan["device_hours"])) == (37_778, 1_073)
    assert [rung["n_designs"] for rung in plan["rungs"]] == [1000, 400, 150, 40, 5] and "tokens_per_s" in plan[
        "sources"
    ]


def test_the_quickstart_takes_about_what_was_measured() -> None:
    """4:16 on two cores of the machine whose throughput is on record, docs/LOG.md."""
    plan = plan_run(workload(load_config(ROOT / "configs" / "quickstart.yaml")), load_hardware()["CPU"])
    assert 0.7 * 256 <= plan.makespan_s <= 1.3 * 256


def test_the_final_scale_is_the_papers_top_rung_with_more_tokens() -> None:
    (final,) = load_config(ROOT / "configs" / "final.yaml").resolved_ladder().scales
    base = PAPER_SCALES[4]
    assert (final.d_model, final.n_blocks, final.peak_lr, final.suite) == (1024, 24, base.peak_lr, base.suite)
    assert final.n_tokens == 50_000_000_000


def test_text_shows_all_hardware_or_the_rungs_of_one() -> None:
    quickstart = str(ROOT / "configs" / "quickstart.yaml")
    short = run(quickstart)
    assert all(name in short for name in ("CPU", "A6000", "A100", "H100", "H200")) and "reference" not in short
    full = run(quickstart, "--hardware", "CPU", "--vocab", "1000")
    assert "cpu-3" in full and "docs/LOG.md" in full and "1,000 tokens in the vocabulary" in full


def test_mistakes_get_one_sentence() -> None:
    quickstart = str(ROOT / "configs" / "quickstart.yaml")
    with pytest.raises(ConfigError, match=r"Cannot plan for 'H101'.*Did you mean 'H10"):
        run(quickstart, "--hardware", "H101")
    with pytest.raises(ConfigError, match="no such file"):
        run("configs/quickstrat.yaml")
