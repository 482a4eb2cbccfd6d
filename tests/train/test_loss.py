"""The chunked head gives the loss and the gradients of the plain one."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from genesys.gau.library import seed_design
from genesys.model import ModelShape, build_model
from genesys.train import loss as loss_module
from genesys.train.loss import NextTokenLoss, Precision


def gradients(loss: NextTokenLoss, value: Tensor) -> dict[str, Tensor]:
    loss.zero_grad()
    (value * 0.5).backward()
    return {name: p.grad.clone() for name, p in loss.named_parameters() if p.grad is not None}


@pytest.mark.parametrize(("precision", "tolerance"), [("fp32", 1e-5), ("bf16", 2e-2)])
@pytest.mark.parametrize("n_rows", [1, 3, 4])
def test_chunks_change_nothing_but_rounding(
    monkeypatch: pytest.MonkeyPatch, precision: Precision, tolerance: float, n_rows: int
) -> None:
    model = build_model(
        seed_design("gpt"), ModelShape(vocab_size=61, d_model=16, n_blocks=2), seed=1, embedding_std=0.3
    )
    loss, rows = NextTokenLoss(model, precision), torch.randint(61, (n_rows, 13))
    whole = loss(rows)
    expected = gradients(loss, whole)
    monkeypatch.setattr(loss_module, "CHUNK_LOGITS", 61 * 5)
    chunked = loss(rows)
    assert chunked.dtype == torch.float32 and chunked.item() == pytest.approx(whole.item(), rel=tolerance)
    found = gradients(loss, chunked)
    assert found.keys() == expected.keys() == dict(loss.named_parameters()).keys()
    for name, gradient in found.items():
        error = (gradient - expected[name]).norm() / expected[name].norm()
        assert error < 2 * tolerance, f"{name} is off by {error:.1e}"


def test_in_float32_the_loss_is_the_models_own() -> None:
    model = build_model(seed_design("gpt"), ModelShape(vocab_size=61, d_model=16, n_blocks=2), seed=1)
    rows = torch.randint(61, (4, 9))
    assert torch.equal(NextTokenLoss(model, "fp32")(rows), loss_module.token_loss(model(rows[:, :-1]), rows[:, 1:]))
