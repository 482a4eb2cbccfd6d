"""`genesys verify` from outside: its mistakes, and what Ctrl-C leaves. Comparisons are tested in tests/verification."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from typer.testing import CliRunner

from genesys.cli import app
from genesys.verification.alone import what_is_kept
from genesys.verification.report import read_report


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--config", "none.yaml"), "Cannot read configuration 'none.yaml'"),
        (("--config", "own.yaml", "--scale", "smal"), "Did you mean 'small'?"),
        (("--corpus", "text:none"), "Cannot read corpus 'none'"),
        (("--reproduce", "no-run"), "Cannot find run 'no-run'"),
        (
            ("--reproduce", "r", "--corpus", "text:x", "--processes", "2"),
            "Cannot use --corpus, --processes with --repro",
        ),
        (("--processes", "3"), "a batch has 8 rows there; expected a number that divides 8"),
    ],
)
def test_a_mistake_gets_a_sentence(
    arguments: tuple[str, ...], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    Path("own.yaml").write_text(
        "ladder: [{name: small, d_model: 16, n_blocks: 1, context: 32, batch_tokens: 128, n_tokens: 1280, peak_lr: 0.01}]\n"
        "quotas: [1]\n"
    )
    failed = CliRunner().invoke(app, ["verify", "gpt", *arguments])
    assert failed.exit_code != 0 and message in str(failed.exception)


def test_an_interruption_says_what_there_is_to_go_on_from(tmp_path: Path) -> None:
    assert what_is_kept(tmp_path / "none") == what_is_kept(tmp_path) == ""
    for file, said in (
        ("training/checkpoint-000000005/state.json", "a checkpoint of the training"),
        ("training/rate-1/trained.json", "the training at some of its learning rates"),
        ("training/trained.json", "the finished training"),
        ("report.json", "the finished verification"),
    ):
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).touch()
        assert what_is_kept(tmp_path) == said


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_after_ctrl_c_the_same_command_goes_on(tmp_path: Path) -> None:
    """Interrupted once its training has ended: the second call evaluates the same weights, and leaves the report."""
    command = [sys.executable, "-m", "genesys", "verify", "gpt", "--scale", "cpu-1", "--out", str(tmp_path / "out")]
    with (tmp_path / "log").open("w") as log:
        first = subprocess.Popen(command, stdout=log, stderr=log)
        trained, deadline = tmp_path / "out" / "training" / "trained.json", time.monotonic() + 400
        while not trained.exists() and first.poll() is None and time.monotonic() < deadline:
            time.sleep(0.05)
        first.send_signal(signal.SIGINT)
        assert first.wait(60) == 130, (tmp_path / "log").read_text()
    assert "the same command goes on there" in (tmp_path / "log").read_text()
    sha256 = json.loads(trained.read_text())["answer"]["weights_sha256"]
    assert not (tmp_path / "out" / "report.json").exists()
    second = subprocess.run(command, capture_output=True, text=True, timeout=400)
    assert second.returncode == 0, second.stderr
    assert "The training had ended in" in second.stderr and "Training loss" in second.stdout
    assert read_report(tmp_path / "out", check_weights=True).weights_sha256 == sha256
    third = subprocess.run(command, capture_output=True, text=True, timeout=400)
    assert third.returncode == 0 and "this is the report from there" in third.stderr and third.stdout == second.stdout
    os.setpgid(0, 0)
