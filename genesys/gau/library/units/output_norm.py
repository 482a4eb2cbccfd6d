import torch
from torch import nn


class OutputNorm(nn.Module):
    """Norm what the child gives, so that no branch outgrows the stream it is added to.

    Shapes: X (B, L, D) -> Y (B, L, D). Complexity: that of its child. Parameters: the norm's.
    Source: Kim et al. 2025, "Peri-LN: Revisiting Normalization Layer in the Transformer Architecture".
    """

    kind = "wrapper"
    slots = {
        "norm": {"doc": "on the child's output", "accepts": ("norm",)},
        "inner": {"doc": "what is normed", "accepts": ("mixer", "channel")},
    }
    writes = ("*",)

    def __init__(self, d: int, ctx):
        super().__init__()
        self.inner, self.norm = ctx.child("inner"), ctx.child("norm")

    def forward(self, X, Z):
        Y, dZ = self.inner(X, Z)
        return self.norm(Y, {**Z, **dZ})[0], dZ


def test_norms_the_output(make):
    unit, X = make(d=8), torch.randn(1, 3, 8)
    assert torch.equal(unit(X, {})[0], unit.norm(unit.inner(X, {})[0], {})[0])
