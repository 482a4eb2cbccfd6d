"""`genesys import`: lines, exit codes, and files that the other verbs read."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

from genesys.cli import app
from genesys.config import load_design
from tests.importer.original import DESIGNS, WHOLE

RUNNER = CliRunner()


def test_each_design_gets_a_line_and_a_file_that_can_be_loaded(tmp_path: Path) -> None:
    result = RUNNER.invoke(app, ["import", str(DESIGNS), "--to", str(tmp_path / "out")])
    assert result.exit_code == 1
    assert "rotary_gpt: imported, 5 units" in result.stdout
    assert "unfinished: unfinished, 2 units, open slots: MultiScaleScan" in result.stdout
    assert (
        "malformed: failed" in result.stdout and "[syntax] BrokenBlock, line 14: '(' was never closed" in result.stdout
    )
    assert f"{len(WHOLE) + 1} of {len(WHOLE) + 2} designs imported" in result.stdout
    files = sorted(file.stem for file in (tmp_path / "out").iterdir())
    assert files == sorted([*WHOLE, "unfinished"])
    assert load_design(str(tmp_path / "out" / "rotary_gpt.json")).unit.name == "RotaryGPT"


def test_designs_of_one_name_do_not_overwrite_each_other(tmp_path: Path) -> None:
    for folder in ("one", "two"):
        shutil.copytree(DESIGNS / "two_unit_gpt", tmp_path / "in" / folder)
    result = RUNNER.invoke(app, ["import", str(tmp_path / "in"), "--to", str(tmp_path / "out"), "--json"])
    assert result.exit_code == 0
    files = [Path(row["file"]).name for row in json.loads(result.stdout)]
    assert files == ["two_unit_gpt.json", "two_unit_gpt-2.json"]


def test_nothing_to_import_is_exit_code_2(tmp_path: Path) -> None:
    result = RUNNER.invoke(app, ["import", str(tmp_path)])
    assert result.exit_code == 2 and "No designs at" in result.stdout


@pytest.mark.parametrize("as_json", [False, True])
def test_a_failed_import_writes_nothing(tmp_path: Path, as_json: bool) -> None:
    arguments = ["import", str(DESIGNS / "malformed"), "--to", str(tmp_path / "out")]
    result = RUNNER.invoke(app, [*arguments, *(["--json"] if as_json else [])])
    assert result.exit_code == 1 and not (tmp_path / "out").exists()
