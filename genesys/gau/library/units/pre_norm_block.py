import torch
from torch import nn


class PreNormBlock(nn.Module):
    """The pre-norm residual block: X + mixer(norm(X)), then + channel(norm(X)).

    Shapes: X (B, L, D) -> Y (B, L, D). Complexity: that of its children.
    Source: Xiong et al. 2020, "On Layer Normalization in the Transformer Architecture".
    """

    kind = "block"
    slots = {
        "norm_mixer": {"doc": "before the mixer", "accepts": ("norm",)},
        "mixer": {"doc": "mixes along the sequence", "accepts": ("mixer",)},
        "norm_channel": {"doc": "before the channel mixer", "accepts": ("norm",)},
        "channel": {"doc": "mixes channels at each position", "accepts": ("channel", "mixer")},
    }
    writes = ("*",)

    def __init__(self, d: int, ctx):
        super().__init__()
        self.norm_mixer, self.mixer = ctx.child("norm_mixer"), ctx.child("mixer")
        self.norm_channel, self.channel = ctx.child("norm_channel"), ctx.child("channel")

    def forward(self, X, Z):
        Y, dZ = self.mixer(self.norm_mixer(X, Z)[0], Z)
        X = X + Y
        Y, dZ2 = self.channel(self.norm_channel(X, Z)[0], {**Z, **dZ})
        return X + Y, {**dZ, **dZ2}


def test_is_residual(make):
    block, X = make(d=8), torch.randn(1, 3, 8)
    Y, _ = block(X, {})
    assert not torch.equal(X, Y) and Y.shape == X.shape
