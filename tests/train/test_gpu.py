"""Training on a card. Run with `pytest -m gpu` on a host that has one."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import pytest
import torch

from genesys.gau.library import seed_design
from genesys.ladder import CPU_SCALES
from genesys.train.data.shards import prepare_shards
from genesys.train.job import train

pytestmark = pytest.mark.gpu


def test_training_uses_the_card(tmp_path: Path) -> None:
    assert torch.cuda.is_available(), "this test wants a card"
    shards = prepare_shards("python-docs", tmp_path)
    answer = train(
        {
            "tree": seed_design("gpt").to_json(), "shape": {"vocab_size": 257, "d_model": 64, "n_blocks": 2},
            "scale": asdict(CPU_SCALES[0]), "shards": str(shards.path), "seed": 0, "out": str(tmp_path / "out"), "n_threads": 1,
        }
    )  # fmt: skip
    assert torch.cuda.max_memory_allocated() > 0
    assert answer["val_loss_nats"] < 2.5
