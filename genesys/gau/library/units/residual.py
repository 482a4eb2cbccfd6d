import torch
from torch import nn


class Residual(nn.Module):
    """Add the input to what the child makes of it.

    Shapes: X (B, L, D) -> Y (B, L, D). Complexity: that of its child. No parameters of its own.
    Source: He et al. 2015, "Deep Residual Learning for Image Recognition".
    """

    kind = "wrapper"
    slots = {"inner": {"doc": "what is added to X", "accepts": ("mixer", "channel")}}
    writes = ("*",)

    def __init__(self, d: int, ctx):
        super().__init__()
        self.inner = ctx.child("inner")

    def forward(self, X, Z):
        Y, dZ = self.inner(X, Z)
        return X + Y, dZ


def test_adds_the_input(make):
    unit, X = make(d=8), torch.randn(1, 3, 8)
    assert torch.allclose(unit(X, {})[0] - unit.inner(X, {})[0], X, atol=1e-6)
