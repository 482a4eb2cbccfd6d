"""Training: real, repeatable, resumable after a kill, and stopped by numbers that are no numbers."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file

from genesys.errors import JobFailed
from genesys.gau import UnitTree, parse_unit
from genesys.gau.library import seed_design
from genesys.ladder import Scale
from genesys.train.guard import require_finite
from tests.train.data import small_shards

SCALE = Scale(
    name="tiny", d_model=16, n_blocks=1, context=16, batch_tokens=64, n_tokens=64 * 30, peak_lr=1e-2, embedding_std=0.1
)
RUN = "import json, sys; from {0} import {1}; json.dump({1}(json.load(open(sys.argv[1]))), open(sys.argv[2], 'w'))"


def request(tmp_path: Path, name: str, tree: UnitTree | None = None, **changes: Any) -> dict[str, Any]:
    return {
        "tree": (tree or seed_design("gpt")).to_json(),
        "shape": {"vocab_size": 257, "d_model": 16, "n_blocks": 1},
        "scale": asdict(SCALE),
        "shards": str(small_shards(tmp_path).path),
        "seed": 3,
        "out": str(tmp_path / name),
        "n_threads": 1,
        "checkpoint_every_s": None,
        **changes,
    }


def start(ask: dict[str, Any], tmp_path: Path) -> tuple[subprocess.Popen[bytes], Path]:
    """Start a training in a process of its own, since a process holds one engine world."""
    name = Path(ask["out"]).name
    asked, answered = tmp_path / f"{name}-request.json", tmp_path / f"{name}-answer.json"
    asked.write_text(json.dumps(ask))
    command = [sys.executable, "-c", RUN.format("genesys.train.job", "train"), str(asked), str(answered)]
    env = os.environ | {"OMP_NUM_THREADS": "1"}
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, env=env), answered


def run(ask: dict[str, Any], tmp_path: Path) -> dict[str, Any]:
    process, answered = start(ask, tmp_path)
    _, stderr = process.communicate(timeout=120)
    assert process.returncode == 0, stderr.decode()[-2000:]
    answer: dict[str, Any] = json.loads(answered.read_text())
    return answer


def test_training_learns_and_repeats_itself(tmp_path: Path) -> None:
    one, two = run(request(tmp_path, "one"), tmp_path), run(request(tmp_path, "two"), tmp_path)
    assert one["curve"] == two["curve"] and one["init_sha256"] == two["init_sha256"]
    assert one["val_loss_nats"] == two["val_loss_nats"] < one["curve"][0][1] - 0.5
    assert load_file(one["weights"]).keys() == load_file(two["weights"]).keys()
    assert one["weights_sha256"] == two["weights_sha256"]
    assert one["design_id"] == seed_design("gpt").design_id
    assert one["n_tokens"] == 64 * 30 and one["n_steps"] == 30 and one["curve"][-1][0] == one["n_tokens"]
    lines = [json.loads(line) for line in (tmp_path / "one" / "progress.jsonl").read_text().splitlines()]
    assert lines[-1]["n_tokens"] == one["n_tokens"] and lines[-1]["loss"] == one["curve"][-1][1]


def test_a_killed_training_resumes_to_the_same_trajectory(tmp_path: Path) -> None:
    """Law 8: SIGKILL after some checkpoint, then the same request again; bit-equal losses and weights."""
    scale = asdict(SCALE) | {"n_tokens": 64 * 300}
    whole = run(request(tmp_path, "whole", scale=scale), tmp_path)
    ask = request(tmp_path, "killed", scale=scale, checkpoint_every_s=0)
    process, _ = start(ask, tmp_path)
    wait_for(lambda: any(int(p.name[11:]) > 20 for p in (tmp_path / "killed").glob("checkpoint-*")), process)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    resumed = run(ask, tmp_path)
    assert 20 < resumed["n_resumed_steps"] < 300
    assert resumed["curve"] == whole["curve"] and resumed["val_loss_nats"] == whole["val_loss_nats"]
    assert resumed["weights_sha256"] == whole["weights_sha256"]
    assert not list((tmp_path / "killed").glob("checkpoint-*"))


def wait_for(condition: Callable[[], bool], process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert process.poll() is None and time.monotonic() < deadline, "no checkpoint before the end"
        time.sleep(0.002)


def test_a_checkpoint_of_another_recipe_is_passed_over(tmp_path: Path) -> None:
    from genesys.train.checkpoint import latest_checkpoint, save_checkpoint

    save_checkpoint(tmp_path, 5, {"fingerprint": "mine", "losses": [1.0]}, lambda folder: None)
    assert latest_checkpoint(tmp_path, "other") is None
    found = latest_checkpoint(tmp_path, "mine")
    assert found is not None and found[1]["losses"] == [1.0]


EXPLODING = '''
import torch
from torch import nn

class Exploding(nn.Module):
    """Divides by zero. Shapes: X (B, L, D) -> Y (B, L, D)."""
    kind = "block"
    def __init__(self, d: int, ctx):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(d))
    def forward(self, X, Z):
        return X * self.weight / (X - X).abs().sum(), {}
'''


def test_a_loss_that_is_not_finite_ends_the_training(tmp_path: Path) -> None:
    process, _ = start(request(tmp_path, "nan", tree=UnitTree(parse_unit(EXPLODING))), tmp_path)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode != 0 and b"JobFailed: Cannot train on: the loss of step 0 is nan" in stderr


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_guard_refuses_what_is_not_finite(value: float) -> None:
    with pytest.raises(JobFailed, match="gradient norm of step 7") as caught:
        require_finite("gradient norm", value, 7)
    assert caught.value.cause == "non-finite"


def test_guard_lets_large_numbers_pass() -> None:
    require_finite("loss", 1e300, 0)
