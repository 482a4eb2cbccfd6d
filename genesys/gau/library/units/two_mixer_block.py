import torch
from torch import nn


class TwoMixerBlock(nn.Module):
    """Two pre-norm residual mixers in a row, with no channel mixer: X + mixer(norm(X)), twice.

    Shapes: X (B, L, D) -> Y (B, L, D). Complexity: that of its children.
    Source: Gu & Dao 2023, "Mamba" (one such layer has the size of half a Transformer block).
    """

    kind = "block"
    slots = {
        "norm": {"doc": "before each mixer, norm[0] and norm[1]", "accepts": ("norm",)},
        "mixer": {"doc": "mixer[0], then mixer[1]", "accepts": ("mixer",)},
    }
    writes = ("*",)

    def __init__(self, d: int, ctx):
        super().__init__()
        self.norms, self.mixers = ctx.children("norm", 2), ctx.children("mixer", 2)

    def forward(self, X, Z):
        written = {}
        for norm, mixer in zip(self.norms, self.mixers, strict=True):
            Y, dZ = mixer(norm(X, {**Z, **written})[0], {**Z, **written})
            X, written = X + Y, {**written, **dZ}
        return X, written


def test_applies_two_layers(make):
    block, X = make(d=8), torch.randn(1, 3, 8)
    once = X + block.mixers[0](X, {})[0]
    assert torch.allclose(block(X, {})[0], once + block.mixers[1](once, {})[0], atol=1e-6)
