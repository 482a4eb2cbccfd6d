"""Training on a card. Run with `pytest -m gpu` on a host that has one."""

from __future__ import annotations

import os
import signal
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import torch

from genesys.gau.library import seed_design
from genesys.ladder import CPU_SCALES
from genesys.train.data.shards import prepare_shards
from tests.train.test_job import step_on_disk
from tests.train.warm import Trainings

pytestmark = pytest.mark.gpu


def request(tmp_path: Path, name: str, **changes: Any) -> dict[str, Any]:
    return {
        "tree": seed_design("gpt").to_json(),
        "shape": {"vocab_size": 257, "d_model": 64, "n_blocks": 2},
        "scale": asdict(CPU_SCALES[0]),
        "shards": str(prepare_shards("python-docs", tmp_path).path),
        "seed": 0,
        "out": str(tmp_path / name),
        **changes,
    }


def test_training_uses_the_card(tmp_path: Path, trainings: Trainings) -> None:
    answer = trainings.run(request(tmp_path, "plain"))
    assert answer["dtype"] == "bf16" and answer["gpu_seconds"] > 0 and answer["peak_memory_mb"] > 1
    assert answer["val_loss_nats"] < 2.5


def test_compiling_and_precision_change_little(tmp_path: Path, trainings: Trainings) -> None:
    wide = trainings.run(request(tmp_path, "wide", dtype="fp32", compile="off"))
    compiled = trainings.run(request(tmp_path, "compiled", compile="on"))
    assert compiled["compiled"] == "yes"
    assert compiled["val_loss_nats"] == pytest.approx(wide["val_loss_nats"], rel=0.02)


def test_a_killed_training_resumes(tmp_path: Path, trainings: Trainings) -> None:
    whole = trainings.run(request(tmp_path, "whole"))
    ask = request(tmp_path, "killed", checkpoint_every_s=0)
    pid = trainings.start(ask)
    while step_on_disk(tmp_path / "killed") < 50:
        time.sleep(0.01)
    os.kill(pid, signal.SIGKILL)
    assert trainings.wait() is None
    resumed = trainings.run(ask)
    assert resumed["n_resumed_steps"] >= 50
    assert resumed["val_loss_nats"] == pytest.approx(whole["val_loss_nats"], abs=0.05)


def test_a_micro_batch_is_found_that_fits(tmp_path: Path, trainings: Trainings) -> None:
    scale = asdict(CPU_SCALES[0]) | {"context": 1024, "batch_tokens": 2**20, "n_tokens": 2**21}
    answer = trainings.run(request(tmp_path, "probe", scale=scale, memory_mb=2000, compile="off"))
    assert 1 <= answer["micro_batch_rows"] < 1024 and answer["peak_memory_mb"] <= 2000
    share = 2000 * 2**20 / torch.cuda.get_device_properties(0).total_memory
    shared = trainings.run(request(tmp_path, "shared", scale=scale, gpu_share=share, compile="off"))
    assert shared["micro_batch_rows"] == answer["micro_batch_rows"] and shared["peak_memory_mb"] <= 2000
