"""`genesys ablate` from outside: its mistakes, its table, and that it goes on where it was interrupted."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from rich.console import Console
from typer.testing import CliRunner

from genesys.cli import app
from genesys.cli.ablate import _design, ablation_notes, ablation_table
from genesys.evolution.ablation import Results, ablations, report
from genesys.evolution.fitness import RelativeFitness
from genesys.gau import UnitTree
from genesys.gau.library import library, seed_design
from genesys.testing.books import metrics_for
from tests.single_run import write_run

TINY = (
    "ladder: [{name: tiny, d_model: 16, n_blocks: 1, context: 32, batch_tokens: 128, n_tokens: 2560, peak_lr: 0.01,"
    " width_step: 8, size_tolerance: 0.2, embedding_std: 0.1, probes: []}]\n"
    "quotas: [1]\ncorpus: text:corpus\n"
)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("gptt",), "Did you mean 'gpt'?"),
        (("gpt", "--seeds", "0"), "Cannot ablate with 0 training seeds"),
        (("gpt", "--scale", "cpu-9"), "Cannot find scale 'cpu-9'"),
        (("no-run/gpt",), "Cannot find run 'no-run'"),
    ],
)
def test_a_mistake_gets_a_sentence(
    arguments: tuple[str, ...], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    failed = CliRunner().invoke(app, ["ablate", *arguments])
    assert failed.exit_code != 0 and message in str(failed.exception)


def test_the_table_names_each_unit_what_took_its_place_and_what_it_gave() -> None:
    gpt, units = seed_design("gpt"), tuple(library().values())
    mixer, channel = (ablations(gpt, units)[path][0] for path in ("mixer", "channel"))
    runs = {
        gpt.design_id: Results(metrics={s: metrics_for(0.8 + s / 100) for s in range(3)}, failed={}),
        mixer.tree.design_id: Results(metrics={s: metrics_for(0.5 + s / 100) for s in range(3)}, failed={}),
        channel.tree.design_id: Results(metrics={}, failed={0: "diverged"}),
    }
    found = report(
        gpt.design_id, "gpt", [mixer, channel], runs, scale="cpu-1", rule=RelativeFitness(), kept={"norm_mixer": "why"}
    )
    console = Console(file=io.StringIO(), width=100)
    console.print(ablation_table(found), *ablation_notes(found))
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert "gpt at cpu-1, training seeds 0, 1, 2" in text and "+0.300 ± 0.000" in text
    assert "better" in text and "seed 0 failed: diverged" in text and "Not taken out: norm_mixer (why)" in text


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_it_verifies_each_ablation_and_a_second_call_trains_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    Path("own.yaml").write_text(TINY)
    Path("corpus").mkdir()
    words = ["cat", "sat", "mat", "and", "saw", "how", "the", "sun", "went", "down", "behind", "a", "hill"]
    for k in range(40):
        lines = (" ".join(words[(i * 7 + j * k) % len(words)] for j in range(12)) for i in range(120))
        Path(f"corpus/{k}.txt").write_text("\n".join(lines))
    command = ["ablate", "gpt", "--config", "own.yaml", "--seeds", "1", "--json"]
    first = CliRunner().invoke(app, command)
    assert first.exit_code == 0, (first.output, first.exception)
    found = json.loads(first.stdout)
    gpt = seed_design("gpt")
    assert {unit["path"] for unit in found["units"]} | {k["path"] for k in found["kept"]} == {
        path for path, _ in gpt.walk() if path
    }
    assert all(UnitTree.from_json(unit["tree"]).design_id == unit["design"] for unit in found["units"])
    assert all(unit["fitness"]["verdict"] == "too few seeds" for unit in found["units"] if unit["fitness"])
    stored = Path("runs/ablations") / gpt.design_id[:16]
    assert json.loads((stored / "tiny" / "ablation.json").read_text()) == found
    weights = {path: path.stat().st_mtime_ns for path in stored.glob("**/*.safetensors")}
    assert len(weights) == 1 + len(found["units"])
    second = CliRunner().invoke(app, command)
    assert second.exit_code == 0 and json.loads(second.stdout) == found
    assert {path: path.stat().st_mtime_ns for path in stored.glob("**/*.safetensors")} == weights


def test_a_design_of_a_run_is_verified_by_that_runs_settings(tmp_path: Path) -> None:
    report = {"scale": "cpu-1", "seed": 0, "metrics": metrics_for(0.5), "n_tokens": 1, "seconds": 1.0}
    run = write_run(tmp_path / "run-1", report, config={"corpus": "text:mine"})
    name, tree, by = _design(f"{run}/gpt", None)
    assert (name, tree, by.corpus) == ("gpt", seed_design("gpt"), "text:mine")
