import torch
from torch import nn


class LayerScale(nn.Module):
    """Scale each channel of the child's output by a learnt number that starts small.

    Shapes: X (B, L, D) -> Y (B, L, D). Complexity: that of its child. Parameters: D of its own.
    Source: Touvron et al. 2021, "Going Deeper with Image Transformers" (CaiT).
    """

    kind = "wrapper"
    slots = {"inner": {"doc": "what is scaled", "accepts": ("mixer", "channel")}}
    writes = ("*",)

    def __init__(self, d: int, ctx, *, initial: float = 0.1):
        super().__init__()
        self.inner = ctx.child("inner")
        self.gain = ctx.own_init(nn.Parameter(torch.full((d,), initial)))

    def forward(self, X, Z):
        Y, dZ = self.inner(X, Z)
        return self.gain * Y, dZ


def test_starts_at_its_initial_scale(make):
    unit, X = make(d=8, initial=0.5), torch.randn(1, 3, 8)
    assert torch.allclose(unit(X, {})[0], 0.5 * unit.inner(X, {})[0])
