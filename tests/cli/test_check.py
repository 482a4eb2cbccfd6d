"""`genesys check`: what it takes, what it prints, and its exit code. In this process, but for the cage."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from genesys import api
from genesys.cli import app
from genesys.errors import ConfigError, JobFailed
from genesys.gau import UnitTree, compose
from genesys.gau.library import library, seed_design
from genesys.sandbox import ForkCage

LEAK = '''
from torch import nn

class Leak(nn.Module):
    """Looks ahead. Shapes: X (B, L, D) -> Y (B, L, D)."""
    kind = "mixer"

    def __init__(self, d: int, ctx):
        super().__init__()
        self.out = nn.Linear(d, d)

    def forward(self, X, Z):
        return self.out(X).flip(1), {}
'''


@pytest.fixture(autouse=True)
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)


def genesys(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["check", *arguments])


def answer(result: Result) -> Any:
    return json.loads(result.stdout)


@pytest.fixture
def designs(tmp_path: Path) -> Path:
    folder = tmp_path / "designs"
    folder.mkdir()
    gpt = seed_design("gpt")
    (folder / "a_composed.py").write_text(compose(gpt))
    (folder / "b_unit.py").write_text(library()["SwiGLU"].source)
    (folder / "c_leak.py").write_text(LEAK)
    (folder / "d_tree.json").write_text(json.dumps(gpt.prune("mixer").to_json()))
    (folder / "e_broken.json").write_text('{"unit": ')
    (folder / "f_syntax.py").write_text("def (")
    (folder / "notes.txt").write_text("no design")
    return folder


def test_a_folder_gets_a_line_for_each_design_and_the_worst_exit_code(designs: Path) -> None:
    done = genesys(str(designs), "--stage", "causality")
    lines = done.stdout.splitlines()
    assert done.exit_code == 2
    verdicts = {line.split()[0]: line.split()[1:3] for line in lines[:-1]}
    assert verdicts == {
        "a_composed.py": ["sane"],
        "b_unit.py": ["sane"],
        "c_leak.py": ["rejected", "causality"],
        "d_tree.json": ["rejected", "open-slot"],
        "e_broken.json": ["unchecked", "Cannot"],
        "f_syntax.py": ["rejected", "syntax"],
    }
    assert lines[-1] == "6 designs: 2 sane, 3 rejected, 1 unchecked"
    (designs / "e_broken.json").unlink()
    again = genesys(str(designs), "--stage", "causality", "--json")
    assert again.exit_code == 1, "the verdicts are kept; the worst is a rejection now"
    assert [finding["rule"] for finding in answer(again)["c_leak.py"]["findings"]] == ["causality"]


def test_kept_verdicts_are_answered_without_a_cage(monkeypatch: pytest.MonkeyPatch) -> None:
    assert genesys("gpt", "--stage", "shape").exit_code == 0

    async def closed(self: ForkCage, entry: str, request: Any, policy: Any) -> Any:
        raise JobFailed("infrastructure", "no cage here")

    monkeypatch.setattr(ForkCage, "run", closed)
    kept = genesys("gpt", "--stage", "shape", "--json")
    assert kept.exit_code == 0 and answer(kept)["verdict"] == "sane"
    fresh = genesys("gpt", "--stage", "shape", "--no-cached", "--json")
    assert fresh.exit_code == 2 and answer(fresh)["verdict"] == "unchecked"
    assert answer(fresh)["findings"][0]["rule"] == "check-infrastructure"
    assert genesys("gpt", "--stage", "run").exit_code == 2, "another policy is another verdict"


def test_a_partial_tree_is_for_those_who_ask(designs: Path) -> None:
    whole = genesys(str(designs / "d_tree.json"), "--stage", "run")
    assert whole.exit_code == 1 and "error [open-slot] PreNormBlock at mixer" in whole.stdout
    assert "measured: slot 'mixer' is open" in whole.stdout and "required: " in whole.stdout
    partial = genesys(str(designs / "d_tree.json"), "--stage", "run", "--partial")
    assert partial.exit_code == 0 and "warning [placeholder] PreNormBlock at mixer" in partial.stdout
    assert "run            passed" in partial.stdout and "effectiveness  skipped" in partial.stdout
    assert "cpu-1: " in partial.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("absent.py",), "neither a file nor a seed"),
        (("absent/gpt",), "Cannot find run 'absent'"),
        (("absent/gpt.py",), "neither a file nor a seed"),
        (("gpt", "--stage", "cauality"), "Did you mean 'causality'"),
        (("gpt", "--ladder", "cpv"), "Did you mean 'cpu'"),
        (("empty",), "it holds no .py, .json, .yaml file"),
        (("broken.json",), "Cannot read design 'broken.json'"),
    ],
)
def test_mistakes_are_said_at_the_door(tmp_path: Path, arguments: tuple[str, ...], message: str) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "broken.json").write_text("[1, 2")
    error = genesys(*arguments).exception
    assert isinstance(error, ConfigError) and message in str(error)


@pytest.mark.slow
def test_a_full_check_of_a_seed_is_sane() -> None:
    report = api.check("gpt")
    assert report["verdict"] == "sane" and report["findings"] == []
    assert report["stages"]["effectiveness"]["outcome"] == "passed" and report["measures"]["flops_ratio"] == 1.0


def test_references_name_what_they_say(designs: Path) -> None:
    assert api._load_for_check("gpt") == seed_design("gpt")
    alone = api._load_for_check("SwiGLU")
    assert alone.at("channel") == UnitTree(library()["SwiGLU"]) and alone.kind == "block"
    assert api._load_for_check(str(designs / "b_unit.py")) == alone
    assert api._load_for_check(str(designs / "a_composed.py")) == seed_design("gpt")
