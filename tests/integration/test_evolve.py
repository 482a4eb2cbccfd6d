"""Real evolutions with real training, small: the example, Ctrl-C and --resume, a drain, and kills that change no number."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from genesys.api import Run
from tests.integration.processes import actor_processes

pytestmark = [pytest.mark.ray, pytest.mark.timeout(400)]
ROOT = Path(__file__).parents[2]
SCALES = """
ladder:
  - {name: tiny-1, d_model: 32, n_blocks: 1, context: 64, batch_tokens: 512, n_tokens: 16384, peak_lr: 6.0e-3,
     width_step: 8, size_tolerance: 0.1, embedding_std: 0.1}
  - {name: tiny-2, d_model: 48, n_blocks: 2, context: 64, batch_tokens: 512, n_tokens: 32768, peak_lr: 6.0e-3,
     width_step: 8, size_tolerance: 0.1, embedding_std: 0.1}
verifiers: {n: 2, probes: false}
"""


STRATEGY = """
from genesys.evolution.selection import Selection

class LastOne:
    def select(self, population, *, rng):
        parent = max(population.eligible, key=lambda design: design.order)
        return Selection(operator="mutation", parents=(parent.id,), reason="the last one")
"""


def start(*arguments: str, cwd: Path) -> subprocess.Popen[str]:
    """The command in a process group of its own and with Ctrl-C heeded, as a terminal would start it.

    Tests may themselves run in the background of a shell, where SIGINT is ignored and children inherit that.
    """
    command = [str(Path(sys.executable).with_name("genesys")), *arguments]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    return subprocess.Popen(
        command, cwd=cwd, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, process_group=0,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )  # fmt: skip


def finish(process: subprocess.Popen[str], timeout_s: float = 200.0) -> str:
    output, _ = process.communicate(timeout=timeout_s)
    return output


def wait_until_verified(folder: Path, n: int, process: subprocess.Popen[str], timeout_s: float = 120.0) -> None:
    deadline = time.monotonic() + timeout_s
    while True:
        if (folder / "journal.sqlite").exists():
            run = Run(folder)
            if run.tree.run and sum(run.tree.ledger.account(s).committed for s in run.tree.scales) >= n:
                return
        assert process.poll() is None, finish(process)
        assert time.monotonic() < deadline, "nothing was verified in time"
        time.sleep(0.2)


def test_the_example_strategy_runs(tmp_path: Path) -> None:
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    done = subprocess.run(
        [sys.executable, "examples/my_strategy.py"],
        cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, timeout=200,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    rows = [line for line in done.stdout.splitlines() if "bits per byte" in line]
    assert len(rows) >= 4 and any("gpt" in row for row in rows)
    assert any("tiny-2" in row for row in rows), "the ladder did not climb"
    assert len((ROOT / "examples" / "my_strategy.py").read_text().splitlines()) <= 40


def test_ctrl_c_is_safe_and_resume_goes_on(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(STRATEGY)
    (tmp_path / "run.yaml").write_text(SCALES + "quotas: [5, 2]\nseeds: [gpt, retnet]\nselection: mine:LastOne\n")
    first = start("evolve", "run.yaml", "--no-dashboard", cwd=tmp_path)
    wait_until_verified(tmp_path / "runs" / "run-1", 1, first)
    descendants = psutil.Process(first.pid).children(recursive=True)
    os.killpg(first.pid, signal.SIGINT)
    output = finish(first, 60)
    assert first.returncode == 130 and "genesys evolve run.yaml --resume" in output, output
    assert "Traceback" not in output, output
    _, alive = psutil.wait_procs(descendants, timeout=20)
    assert not alive, f"left behind: {[process.cmdline() for process in alive]}"
    before = {(r.id, run.scale): run.metrics for r in Run(tmp_path / "runs" / "run-1").tree for run in r.runs}
    assert before

    again = start("evolve", "run.yaml", "--no-dashboard", cwd=tmp_path)  # without --resume it is another run
    wait_until_verified(tmp_path / "runs" / "run-2", 1, again)
    (tmp_path / "stopping").write_text(finish(start("stop", "run-2", cwd=tmp_path)))
    assert "asked to stop" in finish(again, 120) and again.returncode == 0

    output = finish(start("evolve", "run.yaml", "--resume", "--run", "runs/run-1", "--no-dashboard", cwd=tmp_path))
    run = Run(tmp_path / "runs" / "run-1")
    assert "Leaderboard of run-1" in output and run.tree.finished == "every quota is spent", output
    after = {(r.id, finished.scale): finished.metrics for r in run.tree for finished in r.runs}
    assert before.items() <= after.items() and len(after) == 7
    assert not run.tree.counters["policy_failed"], "the strategy of one's own did not work inside the tree's actor"

    (tmp_path / "run.yaml").write_text(SCALES + "quotas: [6, 2]\nseeds: [gpt, retnet]\nselection: mine:LastOne\n")
    refused = start("evolve", "run.yaml", "--resume", "--run", "runs/run-1", cwd=tmp_path)
    assert "Cannot resume 'run-1' with quotas" in finish(refused, 60) and refused.returncode == 2


@pytest.mark.slow
def test_kills_change_no_number(tmp_path: Path) -> None:
    """Decisions 21b: with a closed list of designs and fixed seeds, the results equal the uninterrupted run's."""
    (tmp_path / "run.yaml").write_text(SCALES + "quotas: [3, 2]\nseeds: [gpt, retnet, ttt]\n")
    results = []
    for kills in (0, 3):
        process = start("evolve", "run.yaml", "--no-dashboard", "--json", cwd=tmp_path)
        folder = tmp_path / "runs" / f"run-{len(results) + 1}"
        for n in range(kills):
            wait_until_verified(folder, n, process)
            time.sleep(1.0)
            victims = actor_processes("Verifier", psutil.Process(process.pid))
            if victims:
                victims[0].kill()
        output = finish(process)
        assert process.returncode == 0, output
        run = Run(folder)
        numbers = ("test_bpb", "val_loss_nats", "untrained_val_loss_nats", "unigram_bpb")
        results.append({
            (record.id, finished.scale, finished.seed): tuple(finished.metrics[name] for name in numbers)
            for record in run.tree
            for finished in record.runs
        })  # fmt: skip
    assert results[0] == results[1] and len(results[0]) == 5
    assert json.dumps(sorted(map(str, results[0])))
