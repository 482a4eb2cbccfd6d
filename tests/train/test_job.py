"""Training: real, repeatable, resumable after any kill, equal however the host carries it out, and stopped with a cause."""

import json
import os
import random
import re
import signal
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch.nn import functional as F

from genesys.errors import JobFailed
from genesys.gau import UnitTree, parse_unit
from genesys.gau.library import seed_design
from genesys.ladder import CPU_SCALES, Scale
from genesys.model import ModelShape, build_model
from genesys.train.checkpoint import latest_checkpoint, save_checkpoint
from genesys.train.data.packing import DataOrder, PackedRows
from genesys.train.data.shards import load_shards
from genesys.train.schedule import CosineSchedule
from genesys.train.world import Rank
from tests.train.data import small_shards
from tests.train.warm import Trainings

SCALE = Scale(
    name="tiny", d_model=16, n_blocks=1, context=16, batch_tokens=64, n_tokens=64 * 50, peak_lr=1e-2, embedding_std=0.1
)


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


def test_training_learns_and_repeats_itself(tmp_path: Path, trainings: Trainings) -> None:
    one, two = trainings.run(request(tmp_path, "one")), trainings.run(request(tmp_path, "two"))
    assert one["curve"] == two["curve"] and one["init_sha256"] == two["init_sha256"]
    assert one["val_loss_nats"] == two["val_loss_nats"] < one["curve"][0][1] - 0.5
    assert load_file(one["weights"]).keys() == load_file(two["weights"]).keys()
    assert one["weights_sha256"] == two["weights_sha256"]
    assert one["design_id"] == seed_design("gpt").design_id
    assert one["n_tokens"] == 64 * 50 and one["n_steps"] == 50 and one["curve"][-1][0] == one["n_tokens"]
    lines = [json.loads(line) for line in (tmp_path / "one" / "progress.jsonl").read_text().splitlines()]
    assert lines[-1]["n_tokens"] == one["n_tokens"] and lines[-1]["loss"] == one["curve"][-1][1]
    assert (one["dtype"], one["n_processes"], one["n_accumulation"], one["micro_batch_rows"]) == ("fp32", 1, 1, 4)
    assert one["gpu_seconds"] == 0 and one["mfu"] is None and one["peak_memory_mb"] > 50


def test_losses_are_those_of_an_independent_loop(tmp_path: Path, trainings: Trainings) -> None:
    """Plain torch, sharing the model, the order of the rows and the rates, and nothing else: within 1%."""
    ask = request(tmp_path, "ours")
    ours = trainings.run(ask)
    model = build_model(seed_design("gpt"), ModelShape(**ask["shape"]), seed=3, embedding_std=SCALE.embedding_std)
    packed = PackedRows(load_shards(Path(ask["shards"])).tokens("train"), SCALE.context)
    order = DataOrder(n_rows=packed.n_rows, batch_rows=4, seed=3)
    optimizer = torch.optim.AdamW(model.parameters(), weight_decay=0.0)
    losses = []
    for step in range(SCALE.n_steps):
        rows = torch.from_numpy(packed.rows(order.batch(step)))
        loss = F.cross_entropy(model(rows[:, :-1]).transpose(1, 2), rows[:, 1:])
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.param_groups[0]["lr"] = CosineSchedule(peak_lr=SCALE.peak_lr, n_steps=SCALE.n_steps).lr(step)
        optimizer.step()
        losses.append(loss.item())
    assert [loss for _, loss in ours["curve"]] == pytest.approx(losses, rel=0.01)


@pytest.mark.parametrize("n_processes", [1, 2])
def test_a_training_killed_again_and_again_resumes_to_the_same_trajectory(
    tmp_path: Path, trainings: Trainings, n_processes: int
) -> None:
    """Law 8: SIGKILL at random moments of one training; every loss and the weights are bit-equal in the end."""
    whole = trainings.run(request(tmp_path, "whole", n_processes=n_processes))
    ask = request(tmp_path, "killed", n_processes=n_processes, checkpoint_every_s=0)
    rng, resumed, n_kills = random.Random(n_processes), None, 0
    for target in sorted(rng.sample(range(2, 45), 3)):
        pid = trainings.start(ask)
        while step_on_disk(tmp_path / "killed") < target:
            time.sleep(0.001)
        time.sleep(rng.random() * 0.02)  # in the middle of a step, a pickle, a rename
        os.kill(pid, signal.SIGKILL)
        n_kills += trainings.wait() is None
    state = max((tmp_path / "killed").glob("checkpoint-*")) / "state.json"
    state.write_text(json.dumps(json.loads(state.read_text()) | {"seconds": 1000.0}))
    resumed = trainings.run(ask)
    assert 1000 < resumed["seconds"] < 2000, "what was spent before counts"
    assert n_kills == 3 and 2 < resumed["n_resumed_steps"] < 50
    assert resumed["curve"] == whole["curve"] and len(whole["curve"]) == 50
    assert resumed["weights_sha256"] == whole["weights_sha256"]
    assert resumed["val_loss_nats"] == whole["val_loss_nats"]
    assert not [path.name for path in (tmp_path / "killed").iterdir() if "checkpoint" in path.name]


def test_the_best_rate_of_a_grid_is_kept_at_the_cost_of_all(tmp_path: Path, trainings: Trainings) -> None:
    scale = asdict(SCALE) | {"n_tokens": 64 * 20}
    alone = [
        trainings.run(request(tmp_path, f"at-{factor}", scale=scale | {"peak_lr": 1e-2 * factor}))
        for factor in (0.5, 1.0, 2.0)
    ]
    ask = request(tmp_path, "grid", scale=scale | {"lr_grid": [0.5, 1.0, 2.0]}, checkpoint_every_s=0)
    pid = trainings.start(ask)
    while step_on_disk(tmp_path / "grid" / "rate-1") < 5:
        time.sleep(0.001)
    os.kill(pid, signal.SIGKILL)
    trainings.wait()
    grid = trainings.run(ask)
    best = min(alone, key=lambda answer: answer["val_loss_nats"])
    assert grid["rates"] == [[f, a["val_loss_nats"]] for f, a in zip((0.5, 1.0, 2.0), alone, strict=True)]
    assert (grid["curve"], grid["weights_sha256"]) == (best["curve"], best["weights_sha256"])
    assert grid["flops"] == 3 * best["flops"] and grid["n_tokens"] == best["n_tokens"]
    assert {path.name for path in (tmp_path / "grid").iterdir()} == {
        "weights.safetensors",
        "trained.json",
        "progress.jsonl",
    }
    assert trainings.run(ask) == grid


def test_rates_at_which_the_losses_run_away_are_named_and_cost(tmp_path: Path, trainings: Trainings) -> None:
    tree = unit("return X * self.weight / (self.weight.abs().max() < 1.5), {}")
    scale = asdict(SCALE) | {"n_tokens": 64 * 20, "peak_lr": 0.03}
    alone = trainings.run(request(tmp_path, "alone", tree, scale=scale))
    grid = trainings.run(request(tmp_path, "grid", tree, scale=scale | {"lr_grid": [1.0, 30.0]}))
    assert grid["rates"] == [[1.0, alone["val_loss_nats"]]] and list(grid["failed_rates"]) == ["30"]
    found = re.search(r"the loss of step (\d+) is nan", grid["failed_rates"]["30"])
    assert found and grid["flops"] == pytest.approx(alone["flops"] * (1 + (int(found[1]) + 1) / 20))


def test_a_grids_time_is_shared_out(tmp_path: Path, trainings: Trainings) -> None:
    ask = request(tmp_path, "grid", scale=asdict(SCALE) | {"lr_grid": [0.5, 1.0, 2.0, 3.0]}, limit_s=0.004)
    with pytest.raises(JobFailed, match=r"expected at most 0\.001"):
        trainings.run(ask)


def step_on_disk(folder: Path) -> int:
    return max((int(path.name[11:]) for path in folder.glob("checkpoint-*")), default=0)


def test_a_checkpoint_of_another_recipe_is_passed_over(tmp_path: Path) -> None:
    save_checkpoint(tmp_path, 5, {"fingerprint": "mine", "losses": [1.0]}, lambda folder: None, Rank())
    assert latest_checkpoint(tmp_path, "other") is None
    found = latest_checkpoint(tmp_path, "mine")
    assert found is not None and found[1]["losses"] == [1.0]


@pytest.mark.parametrize("n_processes", [1, 2])
def test_micro_batches_and_ranks_do_not_change_the_losses(
    tmp_path: Path, trainings: Trainings, n_processes: int
) -> None:
    """With little memory: one row at a time, and among ranks ZeRO too."""
    whole = trainings.run(request(tmp_path, "whole"))
    small = trainings.run(request(tmp_path, "small", n_processes=n_processes, memory_mb=0.19))
    assert small["micro_batch_rows"] == 1 and small["n_accumulation"] == 4 // n_processes
    assert small["zero_stage"] == (0 if n_processes == 1 else 1) and small["n_processes"] == n_processes
    assert [loss for _, loss in small["curve"]] == pytest.approx([loss for _, loss in whole["curve"]], rel=1e-5)
    assert small["flops"] == whole["flops"] > 6 * 50 * 64 * 7000


def test_bf16_learns_as_float32_does(tmp_path: Path, trainings: Trainings) -> None:
    wide, narrow = (trainings.run(request(tmp_path, dtype, dtype=dtype)) for dtype in ("fp32", "bf16"))
    assert narrow["dtype"] == "bf16" and narrow["curve"] != wide["curve"]
    assert narrow["val_loss_nats"] == pytest.approx(wide["val_loss_nats"], rel=0.01)
    assert all(tensor.dtype == torch.float32 for tensor in load_file(narrow["weights"]).values())


def unit(forward: str) -> UnitTree:
    """A block of one weight whose forward pass is the given lines."""
    lines = "\n        ".join(forward.splitlines())
    return UnitTree(
        parse_unit(f'''
import torch
from torch import nn

class Odd(nn.Module):
    """Something that goes wrong. Shapes: X (B, L, D) -> Y (B, L, D)."""
    kind = "block"
    def __init__(self, d: int, ctx):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(d))
        self.register_buffer("n", torch.zeros(()))
    def forward(self, X, Z):
        {lines}
''')
    )


FAILURES = {
    "non-finite": ("return X * self.weight / (X - X).abs().sum(), {}", "the loss of step 0 is nan", {}),
    "spike": (
        "self.n += 1\nreturn X * self.weight + (self.n > 32) * 99 * torch.randn_like(X), {}",
        "for 16 steps up to step",
        {},
    ),
    "shape": ("return X @ self.weight[:3], {}", "RuntimeError", {}),
    "out-of-memory": ("return X * torch.ones(1 << 50), {}", "allocate memory", {}),
    "diverged": ("return X * self.weight, {}", "the reference design has 0.5", {"reference_curve": [[64, 0.5], [3200, 0.5]]}),
    "slow": ("return X * self.weight, {}", "expected at most 0.001", {"limit_s": 0.001}),
}  # fmt: skip


@pytest.mark.parametrize("cause", FAILURES)
def test_a_training_that_fails_says_why(tmp_path: Path, trainings: Trainings, cause: str) -> None:
    forward, message, changes = FAILURES[cause]
    with pytest.raises(JobFailed, match=message) as caught:
        trainings.run(request(tmp_path, "odd", tree=unit(forward), **changes))
    assert caught.value.cause == cause
    if cause == "diverged":  # what it cost is on record up to the step at which it was stopped
        last = (tmp_path / "odd" / "progress.jsonl").read_text().splitlines()[-1]
        assert json.loads(last)["n_tokens"] == 20 * 64


def test_trying_the_passes_leaves_no_trace(tmp_path: Path, trainings: Trainings) -> None:
    """A buffer that counts passes counts the training's own, plus those of the validation."""
    answer = trainings.run(
        request(tmp_path, "counting", tree=unit("self.n += self.training\nreturn X * self.weight, {}"))
    )
    assert load_file(answer["weights"])["blocks.0.n"] == 50


@pytest.mark.slow
@pytest.mark.parametrize("seed_name", ["gpt", "mamba2", "retnet", "rwkv6", "ttt"])
def test_seeds_never_trip_the_guard(tmp_path: Path, trainings: Trainings, seed_name: str) -> None:
    scale = CPU_SCALES[0]
    shape = {"vocab_size": 257, "d_model": scale.d_model, "n_blocks": scale.n_blocks}
    answer = trainings.run(request(tmp_path, seed_name, tree=seed_design(seed_name), scale=asdict(scale), shape=shape))
    assert np.isfinite(answer["val_loss_nats"]) and answer["n_steps"] == scale.n_steps
