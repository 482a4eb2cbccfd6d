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
    full = " ".join(run(quickstart, "--hardware", "CPU", "--vocab", "1000").split())
    assert "cpu-3" in full and "docs/LOG.md" in full and "1,000 tokens in the vocabulary" in full


def test_mistakes_get_one_sentence() -> None:
    quickstart = str(ROOT / "configs" / "quickstart.yaml")
    with pytest.raises(ConfigError, match=r"Cannot plan for 'H101'.*Did you mean 'H10"):
        run(quickstart, "--hardware", "H101")
    with pytest.raises(ConfigError, match=r"no such file\. Did you mean 'quickstart.yaml'"):
        run(str(ROOT / "configs" / "quickstrat.yaml"))
    with pytest.raises(ConfigError, match=r"no such file\.$"):
        run(str(ROOT / "configs" / "nope.yaml"))


def test_benchmarks_that_are_nowhere_are_refused(tmp_path: Path) -> None:
    (tmp_path / "run.yaml").write_text("tasks: {data: /nowhere}")
    with pytest.raises(ConfigError, match=r"Cannot find the benchmarks' data '/nowhere'"):
        run(str(tmp_path / "run.yaml"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "there is no such file; expected a JSON object such as"),
        ("{", "it is no JSON"),
        ("[1]", "it holds a list; expected"),
        ('{"H100": 3}', "'H100' holds 3; expected"),
        ('{"H100": {"tokens_per_s": 3}}', "tokens_per_s is 3 and unit 'card'; expected"),
        ('{"H100": {"memory_gb": null}}', "memory_gb is None; expected"),
        ('{"H100": {"mfu": {"128": true}}}', "mfu is {'128': True}; expected"),
        ('{"H100": {"mfv": {}}}', "Did you mean 'mfu'?"),
    ],
)
def test_measured_figures_of_another_form_are_refused(tmp_path: Path, text: str | None, message: str) -> None:
    if text is not None:
        (tmp_path / "mine.json").write_text(text)
    with pytest.raises(ConfigError) as caught:
        run(str(ROOT / "configs" / "quickstart.yaml"), "--measured", str(tmp_path / "mine.json"))
    assert message in str(caught.value) and "\n" not in str(caught.value)


def test_hardware_is_named_in_any_case() -> None:
    quickstart = str(ROOT / "configs" / "quickstart.yaml")
    assert run(quickstart, "--hardware", "h100", "--json") == run(quickstart, "--hardware", "H100", "--json")


def test_several_configurations_get_a_table_each() -> None:
    paths = [str(ROOT / "configs" / name) for name in ("quickstart.yaml", "paper.yaml")]
    assert run(*paths).count("device-") == 2
    both = json.loads(run(*paths, "--json"))
    assert both == [json.loads(run(path, "--json")) for path in paths]


@pytest.mark.parametrize("arguments", [(), ("--hardware", "CPU", "--hardware", "h200")])
def test_the_tables_of_every_configuration_fit_80_columns(
    monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...]
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.chdir(ROOT)
    text = run(*(str(path.relative_to(ROOT)) for path in CONFIGS), *arguments)
    assert max(map(len, text.splitlines())) <= 80 and "…" not in text
    assert "1 cards" not in text and "* Too little memory" in text
    if not arguments:
        assert "A6000, 1 card " in text and "53,109,997" in text and "CPU, 16 cores *" in text


def test_caps_that_end_the_run_early_are_said(tmp_path: Path) -> None:
    path, h100 = tmp_path / "capped.yaml", ("--hardware", "H100")
    path.write_text("quotas: [6, 4, 2]\nbudget: {runs: 5, tokens: 2000000}\n")
    said = " ".join(run(str(path), *h100).split())
    assert "budget: 5 runs; the quotas take 12: it will end before them." in said
    assert "budget: 2,000,000 tokens; the quotas take" in said and "GPU-hour" not in said
    (plan,) = json.loads(run(str(path), *h100, "--json"))["plans"]
    assert plan["budget"][0] == {"cap": "runs", "at_most": 5, "takes": 12}
    path.write_text("quotas: [6, 4, 2]\nbudget: {runs: 12}\n")
    assert "budget:" not in run(str(path))
    path.write_text(
        "ladder: paper\nverifiers: {gpus_per_verification: 1, deadline_s: 60}\nbudget: {gpu_hours: 1, runs: 1}\n"
    )
    said = " ".join(run(str(path), *h100, "--hardware", "A100").split())
    assert "budget: 1 run; the quotas take 1,595" in said
    assert "budget: 1 GPU-hour; the quotas take" in said and " on H100, " in said and " on A100: it will" in said
