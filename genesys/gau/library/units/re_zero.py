import torch
from torch import nn


class ReZero(nn.Module):
    """Scale the child's output by one learnt number that starts at zero.

    Shapes: X (B, L, D) -> Y (B, L, D). Complexity: that of its child. Parameters: 1 of its own.
    Source: Bachlechner et al. 2020, "ReZero is All You Need: Fast Convergence at Large Depth".
    """

    kind = "wrapper"
    slots = {"inner": {"doc": "what is scaled", "accepts": ("mixer", "channel")}}
    writes = ("*",)

    def __init__(self, d: int, ctx):
        super().__init__()
        self.inner = ctx.child("inner")
        self.gain = ctx.own_init(nn.Parameter(torch.zeros(1)))

    def forward(self, X, Z):
        Y, dZ = self.inner(X, Z)
        return self.gain * Y, dZ


def test_starts_silent(make):
    assert make(d=8)(torch.randn(1, 3, 8), {})[0].abs().max() == 0
