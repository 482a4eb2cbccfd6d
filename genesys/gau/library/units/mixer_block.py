import torch
from torch import nn


class MixerBlock(nn.Module):
    """A pre-norm residual block of one mixer and nothing else: X + mixer(norm(X)).

    Shapes: X (B, L, D) -> Y (B, L, D). Complexity: that of its children.
    Source: Gu & Dao 2023, "Mamba", sec. 3.4 (blocks without an MLP).
    """

    kind = "block"
    slots = {
        "norm": {"doc": "before the mixer", "accepts": ("norm",)},
        "mixer": {"doc": "mixes along the sequence", "accepts": ("mixer",)},
    }
    writes = ("*",)

    def __init__(self, d: int, ctx):
        super().__init__()
        self.norm, self.mixer = ctx.child("norm"), ctx.child("mixer")

    def forward(self, X, Z):
        Y, dZ = self.mixer(self.norm(X, Z)[0], Z)
        return X + Y, dZ


def test_is_residual(make):
    unit, X = make(d=8), torch.randn(1, 3, 8)
    assert torch.allclose(unit(X, {})[0], X + unit.mixer(X, {})[0], atol=1e-6)
