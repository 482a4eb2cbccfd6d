"""The command line as a newcomer uses it, mistakes included."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from genesys.config import RunConfig
from genesys.gau.library import unit_named
from tests.actors.in_process import World, run_world


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with one finished run, whose verifications were answered by a null cage."""
    folder = tmp_path_factory.mktemp("work")
    run_world(World(folder / "runs" / "demo-1", RunConfig(quotas=(10, 3, 1))))
    return folder


def genesys(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "genesys", *arguments], cwd=cwd, capture_output=True, text=True)


def answer(*arguments: str, cwd: Path) -> object:
    done = genesys(*arguments, "--json", cwd=cwd)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_leaderboard_has_the_documented_shape(runs: Path) -> None:
    rows = answer("leaderboard", "demo-1", cwd=runs)
    assert isinstance(rows, list) and len(rows) == 10
    assert set(rows[0]) >= {
        "design", "name", "scale", "fitness", "interval", "val_bpb", "probes", "n_params", "n_tokens",
    }  # fmt: skip
    assert rows[0]["scale"] == "cpu-3" and rows[0]["interval"][0] <= rows[0]["fitness"] <= rows[0]["interval"][1]
    scales = [row["scale"] for row in rows]
    assert scales == sorted(scales, reverse=True), "the highest rung first"


def test_show_tree_and_runs(runs: Path) -> None:
    shown = answer("show", "demo-1", "gpt", cwd=runs)
    assert isinstance(shown, dict) and shown["name"] == "gpt" and shown["runs"][0]["outcome"] == "committed"
    assert shown["sizes"] and all(size["d_model"] for size in shown["sizes"].values())
    tree = answer("tree", "demo-1", cwd=runs)
    assert isinstance(tree, list) and {entry["operator"] for entry in tree} >= {"seed", "mutation"}
    assert answer("runs", cwd=runs) == [
        {
            "run": "demo-1",
            "designs": 10,
            "verified": {"cpu-1": 10, "cpu-2": 3, "cpu-3": 1},
            "failed": {"cpu-1": 0, "cpu-2": 0, "cpu-3": 0},
            "best": "gpt",
            "ended": "every quota is spent",
        }
    ]


def test_what_show_prints_is_a_design_again(runs: Path) -> None:
    done = genesys("show", "demo-1", "retnet", "--json", cwd=runs)
    (runs / "retnet.json").write_text(done.stdout)
    report = answer("check", "retnet.json", "--stage", "gradient", "--no-cached", cwd=runs)
    assert report["verdict"] == "sane" and report["findings"] == []
    same = answer("check", "demo-1/retnet", "--stage", "shape", "--no-cached", cwd=runs)
    assert same["verdict"] == "sane" and same["design"] == report["design"]


def test_texts_for_people(runs: Path) -> None:
    board = genesys("leaderboard", "demo-1", cwd=runs).stdout
    assert "95% interval" in board and "gpt" in board
    assert "mixer: Attention" in genesys("show", "demo-1", "gpt", cwd=runs).stdout
    assert "demo-1" in genesys("tree", "demo-1", cwd=runs).stdout
    assert "verified 10 at cpu-1" in genesys("runs", cwd=runs).stdout
    doctor = genesys("doctor", cwd=runs).stdout
    assert "torch" in doctor and "Sandbox" in doctor and "Strategies for selection: adaptive" in doctor


def test_export_writes_a_file_that_builds(runs: Path) -> None:
    assert genesys("export", "demo-1", "gpt", "--to", "py", cwd=runs).returncode == 0
    done = subprocess.run([sys.executable, "-c", "from gpt import build; build()"], cwd=runs, capture_output=True)
    assert done.returncode == 0, done.stderr


def test_check_says_what_is_wrong(runs: Path) -> None:
    (runs / "unit.py").write_text(unit_named("SwiGLU").source.replace("import torch\n", "import torch\nimport os\n", 1))
    done = genesys("check", "unit.py", "--json", cwd=runs)
    report = json.loads(done.stdout)
    assert done.returncode == 1 and report["verdict"] == "rejected"
    assert set(report["findings"][0]) >= {"rule", "unit", "line", "measured", "required", "hint"}
    assert report["findings"][0]["rule"] == "import" and report["findings"][0]["line"] == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("evolve", "absent.yaml"), "Cannot read configuration 'absent.yaml': there is no such file."),
        (("evolve", "typo.yaml"), "Did you mean 'verifiers'?"),
        (("evolve", "quota.yaml"), "only 2 designs are verified on the rung below"),
        (("evolve", "nonsense.yaml"), "Cannot use selection strategy 'Nonsense'"),
        (("evolve", "stranger.yaml"), "no_such_module"),
        (("evolve", "text.yaml"), "no_such_text"),
        pytest.param(
            ("evolve", "gpus.yaml"),
            "Cannot reserve 8 GPUs for a verifier: this machine offers 0",
            marks=pytest.mark.slow,
        ),  # it starts Ray
        (("evolve", "fine.yaml", "--resume"), "Cannot resume 'fine': there is no run of it"),
        (("leaderboard", "demo-2"), "Cannot find run 'demo-2'"),
        (("show", "demo-1", "gtp"), "Did you mean 'gpt'?"),
        (("check", "gpt", "--ladder", "cpv"), "Did you mean 'cpu'?"),
        (("check", "nothing.py"), "neither a file nor a seed"),
        (("verify", "gtp"), "Did you mean 'gpt'?"),
        (("leaderboard", "demo-1", "--limit", "0"), "Cannot show 0 rows; expected 1 or more."),
        (("verify", "gpt", "--scale", "cpu-9"), "Cannot find scale 'cpu-9'"),
        (("export", "demo-1", "gpt", "--to", "onnx"), "Cannot export to 'onnx'"),
        (("stop", "demo-1"), "it has ended"),
    ],
)
def test_a_mistake_gets_one_sentence_and_a_non_zero_exit(runs: Path, arguments: tuple[str, ...], message: str) -> None:
    (runs / "typo.yaml").write_text("verifers: {n: 2}")
    (runs / "quota.yaml").write_text("quotas: [2, 3, 4]")
    (runs / "nonsense.py").write_text(
        "class Nonsense:\n    def select(self, population, *, rng):\n        return 'gpt'\n"
    )
    (runs / "nonsense.yaml").write_text("selection: nonsense:Nonsense")
    (runs / "stranger.yaml").write_text("selection: no_such_module:Thing")
    (runs / "text.yaml").write_text("corpus: text:no_such_text")
    (runs / "gpus.yaml").write_text("verifiers: {gpus_per_verification: 8}")
    (runs / "fine.yaml").write_text("quotas: [6, 2, 1]")
    done = genesys(*arguments, cwd=runs)
    assert done.returncode == 2, done.stdout + done.stderr
    assert message in done.stderr and "Traceback" not in done.stderr
    assert not done.stdout, "nothing is announced that is then refused"
    assert len([line for line in done.stderr.splitlines() if line.startswith("genesys: ")]) == 1
