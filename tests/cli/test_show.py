"""`genesys show` of designs and of reports: what a reader finds, and in which width."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from typer.testing import CliRunner, Result

from genesys.cli import app
from genesys.cli._report import print_report
from genesys.verification.report import report_to_json, write_report
from tests.single_run import write_run
from tests.verification.reports import make_report, make_weights


def genesys(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["show", *arguments])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_report(make_report(tmp_path), tmp_path)
    return tmp_path


@pytest.fixture
def run(tmp_path: Path) -> Path:
    first = make_report(tmp_path / "w1")
    second = replace(first, scale="cpu-2", metrics={**first.metrics, "test_bpb": 2.5})
    old = {key: value for key, value in first.to_json().items() if key not in ("cage", "cost")}  # schema 1
    return write_run(tmp_path / "runs" / "one-1", old, report_to_json(second))


def test_a_report_says_all_figures_beside_what_they_are_measured_against(folder: Path) -> None:
    shown = genesys(str(folder / "report.json"))
    assert shown.exit_code == 0, shown.output
    for said in (
        "at cpu-1, seed 0", "6 parameters: 2 blocks of width 64, vocabulary 257, context 64",
        "3.000 ± 0.059", "4.600", "5.600", "task blimp", "0.610 ± 0.020", "0.500", "0.550 ± 0.010", "probe recall",
        "143,360 tokens at 20,000/s, 1.5e+11 FLOPs, 15.0 s, 9.0 s of them training, 300 MB",
        "1 of 2 layers in force; off: user-namespace (root needs none)", "5.50|", "2,048", "training/weights.safetensors",
    ):  # fmt: skip
        assert said in shown.output, said
    assert genesys(str(folder)).output == shown.output


def test_a_report_names_the_learning_rates_that_ran_away(tmp_path: Path) -> None:
    report = report_to_json(make_report(tmp_path, weights=""))
    report["details"]["train"] |= {"rates": [[0.5, 3.1], [1.0, 3.0]], "failed_rates": {"2": "the loss is not finite"}}
    report["config"]["scale"]["peak_lr"] = 0.01
    with (tmp_path / "out").open("w+") as file:
        print_report(report, Console(file=file, width=200), name="gpt")
        file.seek(0)
        assert "0.005 (3.100 nats), 0.01 (3.000 nats), 0.02 (failed: the loss is not finite)" in file.read()


@pytest.mark.parametrize("ascii_only", [False, True])
def test_a_report_fits_80_columns_also_where_only_ascii_is_written(tmp_path: Path, ascii_only: bool) -> None:
    report = report_to_json(make_report(tmp_path, weights=""))
    long = {f"task_blimp_anaphor_gender_agreement{end}": 0.5 for end in ("", "_se", "_chance", "_majority", "_prob")}
    report["metrics"] |= long
    with (tmp_path / "out").open("w+", encoding="ascii" if ascii_only else "utf-8") as file:
        print_report(report, Console(file=file, width=80), name="gpt")
        file.seek(0)
        lines = file.read().splitlines()
    assert max(map(len, lines)) <= 80 and any("blimp_anaphor" in line for line in lines)


def test_a_report_as_json_and_checked(folder: Path) -> None:
    assert json.loads(genesys(str(folder), "--json").stdout)["schema"] == 2
    assert "Checked: the weights file is the one" in genesys(str(folder), "--check").output
    make_weights(folder / "training" / "weights.safetensors", value=0.0)
    assert genesys(str(folder)).exit_code == 0
    broken = genesys(str(folder), "--check")
    assert broken.exit_code == 1 and "the SHA-256 of 'weights.safetensors'" in broken.output
    (folder / "training" / "weights.safetensors").unlink()
    gone = genesys(str(folder), "--check")
    assert gone.exit_code == 1 and "Not checked: the weights are gone" in gone.output


def test_a_runs_report_is_checked_too(run: Path, tmp_path: Path) -> None:
    held = genesys(str(run), "gpt", "--scale", "cpu-1", "--check")
    assert held.exit_code == 0 and "Checked: the weights file is the one" in held.output
    make_weights(tmp_path / "w1" / "training" / "weights.safetensors", value=0.0)
    broken = genesys(str(run), "gpt", "--scale", "cpu-1", "--check", "--json")
    assert broken.exit_code == 1 and "the SHA-256 of 'weights.safetensors'" in broken.output


def test_a_run_alone_names_its_designs_by_folder_and_by_name(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for reference in (str(run), "one-1"):
        said = f"it holds no report.json. To show a design: genesys show {reference} DESIGN; it has gpt."
        assert said in str(genesys(reference).exception)


def test_nothing_is_shown_before_a_mistake(run: Path, folder: Path) -> None:
    for arguments in ((str(run), "gpt", "--scale", "cpu-9"), (str(folder / "report.json"), "--scale", "cpu-9")):
        failed = genesys(*arguments)
        assert failed.exit_code != 0 and not failed.output and "'cpu-9'" in str(failed.exception)


def printed(report: dict[str, Any], folder: Path) -> str:
    with (folder / "out").open("w+", encoding="utf-8") as file:
        print_report(report, Console(file=file, width=100))
        file.seek(0)
        return file.read()


def test_absent_members_are_counted_by_group(tmp_path: Path) -> None:
    report = report_to_json(make_report(tmp_path))
    absent = {f"blimp_{i}": f"no file {i}" for i in range(33)} | {"blimp_supplement_hypernym": "none", "piqa": "gone"}
    members = {f"blimp_there_{i}": {} for i in range(34)}
    report["config"]["scale"]["suite"] = "cpu"
    report["details"]["benchmarks"] |= {"absent": absent, "tasks": {"blimp": {"members": members}}}
    said = printed(report, tmp_path)
    assert "task blimp (34 of 67)" in said and "Absent: 33 of 67 of blimp, the first blimp_0 (no file 0)" in said
    assert "Absent: 1 of 1 of blimp_supplement, the first blimp_supplement_hypernym (none)" in said
    assert "Absent: piqa (gone)" in said and said.count("Absent:") == 3


def test_corpus_and_tokenizer_are_said_while_their_shards_are_there(tmp_path: Path) -> None:
    report = report_to_json(make_report(tmp_path))
    assert "Data: SHA-256 dddddddddddd\n" in printed(report, tmp_path)
    manifest = json.dumps({"corpus": "python-docs", "tokenizer": "bytes"}).encode()
    (tmp_path / "manifest.json").write_bytes(manifest)
    report["config"]["shards"] = str(tmp_path)
    assert "python-docs" not in printed(report, tmp_path), "other data of the same place"
    report["data_hash"] = hashlib.sha256(manifest).hexdigest()
    assert "Data: python-docs, tokenizer bytes, SHA-256" in printed(report, tmp_path)


def test_no_part_of_the_cost_is_larger_than_the_whole(tmp_path: Path) -> None:
    report = report_to_json(replace(make_report(tmp_path), seconds=5.0))
    assert "5.0 s after 9.0 s of training" in printed(report, tmp_path)


def test_a_design_shows_its_verifications_and_its_highest_report(run: Path) -> None:
    shown = genesys(str(run), "gpt").output
    assert "mixer: Attention" in shown and "gpt at cpu-2, seed 0" in shown and "2.500 ± 0.059" in shown
    assert shown.count("committed") == 2 and f"genesys verify --reproduce {run} gpt" in shown
    old = genesys(str(run), "gpt", "--scale", "cpu-1").output
    assert "gpt at cpu-1, seed 0" in old and "Cage: not recorded" in old and "9.0 s of them training" in old


def test_hostile_words_do_not_reach_the_terminal(tmp_path: Path) -> None:
    report = make_report(tmp_path)
    claims: dict[str, Any] = {**report.details["train"], "curve": [["\x1b[2J", 1.0], [2, 1.0]]}
    shown = report_to_json(replace(report, details={**report.details, "train": claims}))
    with (tmp_path / "out").open("w+", encoding="utf-8") as file:
        print_report(shown, Console(file=file, width=80), name="[bold]gpt[/bold]")
        file.seek(0)
        said = file.read()
    assert "\x1b" not in said and "Training loss" not in said and "[bold]gpt[/bold]" in said


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("{run}", "gpt", "--scale", "cpu-3"), "Cannot show 'gpt' at scale 'cpu-3': it was not verified there"),
        (("{run}", "gpt", "--seed", "7"), "Cannot show 'gpt' with seed 7: it was not verified there"),
        (("{run}",), "it holds no report.json. To show a design: genesys show"),
        (("none.json",), "Cannot read report 'none.json': No such file or directory"),
    ],
)
def test_a_mistake_gets_a_sentence(run: Path, arguments: tuple[str, ...], message: str) -> None:
    failed = genesys(*(argument.format(run=run) for argument in arguments))
    assert failed.exit_code != 0 and message in str(failed.exception)
