"""Real evolutions with real training, small: Ctrl-C and --resume, the example, and a drain."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from genesys.api import Run, evolve
from genesys.config import RunConfig
from genesys.errors import ConfigError
from tests.actors.in_process import World, run_world
from tests.integration.processes import ROOT, descendants, finish, start, wait_until_verified
from tests.train.data import sentences

pytestmark = [pytest.mark.ray, pytest.mark.timeout(500)]
SCALES = """
ladder:
  - {name: tiny-1, d_model: 32, n_blocks: 1, context: 64, batch_tokens: 512, n_tokens: 8192, peak_lr: 6.0e-3,
     width_step: 8, size_tolerance: 0.1, embedding_std: 0.1}
  - {name: tiny-2, d_model: 48, n_blocks: 2, context: 64, batch_tokens: 512, n_tokens: 16384, peak_lr: 6.0e-3,
     width_step: 8, size_tolerance: 0.1, embedding_std: 0.1}
verifiers: {n: 2, probes: false, stop_hopeless: false}
"""
STRATEGY = """
from genesys.evolution.selection import Selection

class LastOne:
    def select(self, population, *, rng):
        parent = max(population.eligible, key=lambda design: design.order)
        return Selection(operator="mutation", parents=(parent.id,), reason="the last one")
"""


def write_config(folder: Path, rest: str) -> None:
    (folder / "words.txt").write_text("\n\n".join(sentences(1500)))
    (folder / "run.yaml").write_text(SCALES + f"corpus: text:{folder / 'words.txt'}\n" + rest)


def test_ctrl_c_is_safe_and_resume_goes_on(tmp_path: Path) -> None:
    """From a configuration to a spent ladder, interrupted once, with a strategy of one's own inside the tree's actor."""
    (tmp_path / "mine.py").write_text(STRATEGY)
    write_config(tmp_path, "quotas: [3, 1]\nseeds: [gpt, retnet]\nselection: mine:LastOne\n")
    first = start("evolve", "run.yaml", "--no-dashboard", cwd=tmp_path)
    wait_until_verified(tmp_path / "runs" / "run-1", 1, first)
    below = descendants(psutil.Process(first.pid))
    os.killpg(first.pid, signal.SIGINT)
    output = finish(first, 60)
    assert first.returncode == 130 and "genesys evolve run.yaml --resume" in output, output
    assert "Traceback" not in output, output
    _, alive = psutil.wait_procs(below, timeout=20)
    assert not alive, f"left behind: {[process.cmdline() for process in alive]}"
    before = {(r.id, run.scale): run.metrics for r in Run(tmp_path / "runs" / "run-1").tree for run in r.runs}
    assert before

    output = finish(start("evolve", "run.yaml", "--resume", "--no-dashboard", cwd=tmp_path))
    run = Run(tmp_path / "runs" / "run-1")
    assert "Leaderboard of run-1" in output and run.tree.finished == "every quota is spent", output
    after = {(r.id, finished.scale): finished.metrics for r in run.tree for finished in r.runs}
    assert before.items() <= after.items() and len(after) == 4
    assert not run.tree.counters["policy_failed"], "the strategy of one's own did not work inside the tree's actor"


@pytest.mark.slow
def test_a_jobs_end_is_met_as_ctrl_c_is(tmp_path: Path) -> None:
    write_config(tmp_path, "quotas: [3, 1]\nseeds: [gpt, retnet]\n")
    process = start("evolve", "run.yaml", "--no-dashboard", cwd=tmp_path)
    wait_until_verified(tmp_path / "runs" / "run-1", 1, process)
    below = descendants(psutil.Process(process.pid))
    process.terminate()
    output = finish(process, 60)
    assert process.returncode == 130 and "genesys evolve run.yaml --resume" in output, output
    assert "Traceback" not in output and "SIGTERM received" not in output, output
    assert not psutil.wait_procs(below, timeout=20)[1]


def test_a_run_is_not_resumed_under_other_quotas(tmp_path: Path) -> None:
    (tmp_path / "words.txt").write_text("\n\n".join(sentences(1500)))
    config = RunConfig(quotas=(4, 2, 1), seeds=("gpt",))
    run_world(World(tmp_path / "run-1", config))
    other = RunConfig(quotas=(5, 2, 1), seeds=("gpt",), corpus=f"text:{tmp_path / 'words.txt'}")
    with pytest.raises(ConfigError, match="Cannot resume 'run-1' with quotas"):
        evolve(other, resume=True, run_folder=tmp_path / "run-1")


@pytest.mark.slow
def test_the_example_strategy_runs(tmp_path: Path) -> None:
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    done = subprocess.run(
        [sys.executable, "examples/my_strategy.py"],
        cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    rows = [line for line in done.stdout.splitlines() if "bits per byte" in line]
    assert len(rows) >= 4 and any("gpt" in row for row in rows)
    assert any("tiny-2" in row for row in rows), "the ladder did not climb"
    assert len((ROOT / "examples" / "my_strategy.py").read_text().splitlines()) <= 40


@pytest.mark.slow
def test_a_run_that_is_asked_to_stop_drains(tmp_path: Path) -> None:
    write_config(tmp_path, "quotas: [20, 4]\nseeds: [gpt, retnet]\n")
    running = start("evolve", "run.yaml", "--no-dashboard", cwd=tmp_path)
    wait_until_verified(tmp_path / "runs" / "run-1", 1, running)
    assert "asked" in finish(start("stop", "run-1", cwd=tmp_path)).lower()
    assert "asked to stop" in finish(running, 200) and running.returncode == 0
    tree = Run(tmp_path / "runs" / "run-1").tree
    assert not tree.leases and tree.finished == "asked to stop"
