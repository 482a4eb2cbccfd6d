"""A verification outside any run: watched, kept in its folder, done again from a run's books."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from typer.testing import CliRunner

from genesys.cli import app
from genesys.cli._verifying import describe, verification_display
from genesys.cli.verify import print_reproduction
from genesys.errors import ConfigError
from genesys.ladder.ledger import FIRST_SEED
from genesys.sandbox import ForkCage
from genesys.verification import VerificationProgress
from genesys.verification.alone import finished, verify_alone
from genesys.verification.report import read_report, report_to_json
from genesys.verification.reproduction import compare_reports
from tests.single_run import write_run
from tests.verification.conftest import Honest


@pytest.mark.asyncio(loop_scope="session")
async def test_it_says_how_far_it_is_and_leaves_a_report_that_holds(
    honest: Honest, cage: ForkCage, tmp_path: Path
) -> None:
    seen: list[VerificationProgress] = []
    request = honest.again(tmp_path)
    (tmp_path / "out" / "report.json").write_text("of an earlier verification")

    def look(progress: VerificationProgress) -> None:
        seen.append(progress)
        assert not (tmp_path / "out" / "report.json").exists(), "no report while its weights may change"

    report = await verify_alone(request, cage, on_progress=look)
    assert report.metrics == honest.report.metrics and seen[0].stage == "train"
    assert seen[0].n_tokens == report.n_tokens, "what an interrupted verification has left is shown at once"
    assert read_report(tmp_path / "out", check_weights=True).metrics == report.metrics


@pytest.mark.asyncio(loop_scope="session")
async def test_a_folder_is_one_designs_alone(honest: Honest, cage: ForkCage, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "design").write_text("e" * 64)  # as it was before it said more
    with pytest.raises(ConfigError, match="holds a verification of design eeeeeeeeeeee, and asked for is design "):
        await verify_alone(replace(honest.request, out=str(tmp_path / "out")), cage, on_progress=lambda progress: None)


@pytest.mark.asyncio(loop_scope="session")
async def test_a_finished_verification_is_not_done_again_and_not_overwritten(
    honest: Honest, cage: ForkCage, tmp_path: Path
) -> None:
    request, folder = honest.again(tmp_path), tmp_path / "out"
    (folder / "design").write_text(honest.report.design_id)  # of the old form: this very design's
    assert finished(request) is None
    report = await verify_alone(request, cage, on_progress=lambda progress: None)
    assert finished(request) == report
    assert finished(replace(request, n_threads=2)) is None
    with pytest.raises(ConfigError, match=r"scale tiny, seed 1, .*, and asked for is seed 7; expected a new folder"):
        await verify_alone(replace(request, seed=7), cage, on_progress=lambda progress: None)
    assert finished(request) == report, "a refusal leaves what is there"
    (folder / "training" / "weights.safetensors").write_bytes(b"")
    assert finished(request) is None


def reproduce(run: Path, report: Mapping[str, Any], *arguments: str) -> Any:
    seed = ["--seed", str(report["seed"])]
    return CliRunner().invoke(app, ["verify", "--reproduce", str(run), "gpt", *seed, *arguments])


def first_and(report: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """A replicate's report after one of the first run that its books ask for."""
    assert report["seed"] != FIRST_SEED
    return [{**report, "seed": FIRST_SEED}, report]


def test_a_runs_verification_is_done_again_bit_for_bit(honest: Honest, tmp_path: Path) -> None:
    report = report_to_json(honest.report)
    run = write_run(tmp_path / "honest-1", *first_and(report))
    done = reproduce(run, report, "--json")
    answer = json.loads(done.stdout)
    assert done.exit_code == 0 and answer["holds"] and answer["exact"] and answer["same_weights"], answer
    assert {f["verdict"] for f in answer["figures"]} == {"equal"} and "again as run" in done.stderr


def test_a_figure_that_does_not_come_again_is_named(honest: Honest, capsys: pytest.CaptureFixture[str]) -> None:
    then = honest.report
    now = replace(then, metrics={**then.metrics, "test_bpb": then.metrics["test_bpb"] + 0.1})
    print_reproduction(compare_reports(then, now), "gpt")
    said = capsys.readouterr().out
    differs = [line for line in said.splitlines() if "differs" in line]
    assert len(differs) == 1 and "test_bpb" in differs[0] and "+1.0e-01" in differs[0]
    assert "NOT reproduced (bit for bit" in said and "weights equal" in said


def test_data_that_cannot_be_had_again_is_said(honest: Honest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    text = tmp_path / "text.txt"
    text.write_text("\n\n".join(f"Paragraph {n}: " + f"words and more words, number {n}. " * 40 for n in range(300)))
    report = report_to_json(honest.report)
    report["config"] = {**report["config"], "shards": str(tmp_path / "gone")}
    run = write_run(tmp_path / "gone-1", *first_and(report), config={"corpus": f"text:{text}"})
    failed = reproduce(run, report)
    assert "its data" in str(failed.exception) and "is gone or of an earlier format, and its corpus gives" in str(
        failed.exception
    )


def test_progress_without_a_terminal_is_a_line_for_each_stage() -> None:
    file = io.StringIO()
    with verification_display(Console(file=file, width=80), n_tokens=1000) as show:
        for n_tokens in (100, 200, 300):
            show(VerificationProgress(stage="train", n_tokens=n_tokens, loss_nats=2.5, tokens_per_s=50.0))
        show(VerificationProgress(stage="evaluate", n_tokens=1000, loss_nats=2.0, tokens_per_s=50.0))
    assert file.getvalue().splitlines() == ["train: 100/1,000 tokens, loss 2.500, 50 tokens/s", "evaluate"]
    assert describe(VerificationProgress(stage="train"), 1000) == ""


def test_progress_on_a_terminal_fits_it() -> None:
    file = io.StringIO()
    with verification_display(Console(file=file, width=80, force_terminal=True), n_tokens=10**9) as show:
        show(VerificationProgress(stage="train", n_tokens=10**8, loss_nats=2.5, tokens_per_s=123_456.0))
    assert "100,000,000/1,000,000,000 tokens" in file.getvalue()
