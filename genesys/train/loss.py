"""The training loss of a model, in the precision and with the memory that training wants.

Shapes: B rows, L length, D model width, V vocabulary, N = B L places, C places of a chunk.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from genesys.model import GAM

Precision = Literal["fp32", "bf16"]
Slope = Callable[[Tensor, Tensor, float], tuple[Tensor, Tensor]]
CHUNK_LOGITS = 2**28
"""Logits held at once; half a gigabyte in bf16. Above it the head is computed in chunks."""


class NextTokenLoss(nn.Module):
    """Mean cross-entropy of a model on rows of tokens, nats per token.

    In bf16 the parameters stay float32, masters and checkpoints in one, and autocast chooses per operation: products run in
    bf16; sums, exponentials and logarithms, which units that people have not read may feed with anything, in float32.
    DeepSpeed's own bf16 mode casts all of a unit and keeps a second copy of the weights. What runs from block to block is
    bf16 too: at these widths a step waits for memory more than for products.
    """

    def __init__(self, model: GAM, precision: Precision) -> None:
        super().__init__()
        self.model, self.precision = model, precision
        self.slope: Slope = loss_and_slope

    def forward(self, rows_BL: Tensor) -> Tensor:
        """The loss of rows (B, L + 1): inputs `[:, :-1]`, targets `[:, 1:]`; a scalar with gradient."""
        n_logits = rows_BL[:, 1:].numel() * self.model.embedding.num_embeddings
        return self.whole(rows_BL) if n_logits <= CHUNK_LOGITS else self.chunked(rows_BL)

    def whole(self, rows_BL: Tensor) -> Tensor:
        """The loss with all logits in memory."""
        with self._autocast(rows_BL):
            logits_BLV = F.linear(self._read(rows_BL[:, :-1]), self.model.embedding.weight)
            return token_loss(logits_BLV, rows_BL[:, 1:])

    def chunked(self, rows_BL: Tensor) -> Tensor:
        """The loss with the logits of one chunk in memory; equal but for rounding."""
        with self._autocast(rows_BL):
            x_ND = self._read(rows_BL[:, :-1]).flatten(0, 1).to(self._dtype)
            weight_VD, targets_N = self.model.embedding.weight, rows_BL[:, 1:].flatten()
            loss: Tensor = _ChunkedLoss.apply(x_ND, weight_VD, targets_N, self.slope)  # type: ignore[no-untyped-call]
        return loss

    def _read(self, tokens_BL: Tensor) -> Tensor:
        model = self.model
        x_BLD: Tensor = model.norm(model.hidden(model.embedding(tokens_BL).to(self._dtype)))
        return x_BLD

    @property
    def _dtype(self) -> torch.dtype:
        return torch.bfloat16 if self.precision == "bf16" else torch.float32

    def _autocast(self, rows: Tensor) -> torch.autocast:
        return torch.autocast(rows.device.type, torch.bfloat16, enabled=self.precision == "bf16")


def token_loss(logits_BLV: Tensor, targets_BL: Tensor) -> Tensor:
    """Mean cross-entropy, nats per token; a scalar."""
    return F.cross_entropy(logits_BLV.flatten(0, 1).float(), targets_BL.flatten())


class _ChunkedLoss(torch.autograd.Function):
    """Head and loss in one: each chunk's gradients are taken while its logits are there, so nothing is computed twice."""

    @staticmethod
    def forward(ctx: Any, x_ND: Tensor, weight_VD: Tensor, targets_N: Tensor, slope: Slope) -> Tensor:
        n = len(x_ND)
        n_chunks = 2 ** math.ceil(
            math.log2(max(1.0, n * len(weight_VD) / CHUNK_LOGITS))
        )  # equal where n is even enough
        w_VD, loss = weight_VD.to(x_ND.dtype), x_ND.new_zeros((), dtype=torch.float32)
        dx_ND, dw_VD = torch.empty_like(x_ND), torch.zeros_like(weight_VD)
        with torch.autocast(x_ND.device.type, enabled=False):
            for x_CD, dx_CD, targets_C in zip(*(t.chunk(n_chunks) for t in (x_ND, dx_ND, targets_N)), strict=True):
                nats, slope_CV = slope(x_CD @ w_VD.T, targets_C, 1 / n)
                loss += nats
                torch.mm(slope_CV, w_VD, out=dx_CD)
                dw_VD += slope_CV.T @ x_CD
        ctx.save_for_backward(dx_ND, dw_VD)
        return loss

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> tuple[Tensor, Tensor, None, None]:
        dx_ND, dw_VD = ctx.saved_tensors
        return dx_ND * grads[0].to(dx_ND.dtype), dw_VD * grads[0], None, None


def loss_and_slope(logits_CV: Tensor, targets_C: Tensor, weight: float) -> tuple[Tensor, Tensor]:
    """The sum of a chunk's losses times `weight`, and its gradient by the logits in their own type."""
    wide_CV = logits_CV.float()
    total_C1 = wide_CV.logsumexp(-1, keepdim=True)
    right_CV = torch.arange(wide_CV.shape[-1], device=wide_CV.device) == targets_C[:, None]
    nats = (total_C1[:, 0] - wide_CV.gather(-1, targets_C[:, None])[:, 0]).sum() * weight
    return nats, (((wide_CV - total_C1).exp() - right_CV.float()) * weight).to(logits_CV.dtype)
