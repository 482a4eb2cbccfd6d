import torch
from torch import nn


class GatedBranch(nn.Module):
    """Gate each channel of the child's output by a sigmoid of a linear map of the input.

    Shapes: X (B, L, D) -> Y (B, L, D). Complexity: that of its child. Parameters: D^2 + D of its own.
    Source: Dauphin et al. 2016, "Language Modeling with Gated Convolutional Networks".
    """

    kind = "wrapper"
    slots = {"inner": {"doc": "what is gated", "accepts": ("mixer", "channel")}}
    writes = ("*",)

    def __init__(self, d: int, ctx):
        super().__init__()
        self.inner, self.gate = ctx.child("inner"), nn.Linear(d, d)

    def forward(self, X, Z):
        Y, dZ = self.inner(X, Z)
        return torch.sigmoid(self.gate(X)) * Y, dZ


def test_never_amplifies(make):
    unit, X = make(d=8), torch.randn(1, 3, 8)
    assert (unit(X, {})[0].abs() <= unit.inner(X, {})[0].abs()).all()
