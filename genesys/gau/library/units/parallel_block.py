import torch
from torch import nn


class ParallelBlock(nn.Module):
    """Mixer and channel mixer side by side on one normed input: X + mixer(norm(X)) + channel(norm(X)).

    Shapes: X (B, L, D) -> Y (B, L, D). Complexity: that of its children.
    Source: Wang & Komatsuzaki 2021, "GPT-J-6B"; Chowdhery et al. 2022, "PaLM", sec. 2.
    """

    kind = "block"
    slots = {
        "norm": {"doc": "before both branches", "accepts": ("norm",)},
        "mixer": {"doc": "mixes along the sequence", "accepts": ("mixer",)},
        "channel": {"doc": "mixes channels at each position", "accepts": ("channel", "mixer")},
    }
    writes = ("*",)

    def __init__(self, d: int, ctx):
        super().__init__()
        self.norm, self.mixer, self.channel = ctx.child("norm"), ctx.child("mixer"), ctx.child("channel")

    def forward(self, X, Z):
        normed = self.norm(X, Z)[0]
        Y, dZ = self.mixer(normed, Z)
        Y2, dZ2 = self.channel(normed, {**Z, **dZ})
        return X + Y + Y2, {**dZ, **dZ2}


def test_branches_add(make):
    unit, X = make(d=8), torch.randn(1, 3, 8)
    assert torch.allclose(unit(X, {})[0], X + unit.mixer(X, {})[0] + unit.channel(X, {})[0], atol=1e-6)
