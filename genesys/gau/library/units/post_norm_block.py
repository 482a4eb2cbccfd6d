import torch
from torch import nn


class PostNormBlock(nn.Module):
    """The first Transformer's block, normed after each sum: norm(X + f(X)), with a weighted skip to keep depth stable.

    Shapes: X (B, L, D) -> Y (B, L, D). Complexity: that of its children.
    Source: Vaswani et al. 2017; the weight of the skip from Wang et al. 2022, "DeepNet".
    """

    kind = "block"
    slots = {
        "norm": {"doc": "after each sum, norm[0] and norm[1]", "accepts": ("norm",)},
        "mixer": {"doc": "mixes along the sequence", "accepts": ("mixer",)},
        "channel": {"doc": "mixes channels at each position", "accepts": ("channel", "mixer")},
    }
    writes = ("*",)

    def __init__(self, d: int, ctx):
        super().__init__()
        self.norms = ctx.children("norm", 2)
        self.branches = nn.ModuleList([ctx.child("mixer"), ctx.child("channel")])
        self.skip = (2 * ctx.n_blocks) ** 0.25

    def forward(self, X, Z):
        written = {}
        for norm, branch in zip(self.norms, self.branches, strict=True):
            Y, dZ = branch(X, {**Z, **written})
            written = {**written, **dZ}
            X = norm(self.skip * X + Y, {**Z, **written})[0]
        return X, written


def test_skip_is_weighted(make):
    unit, X = make(d=8), torch.randn(1, 3, 8)
    once = unit.skip * X + unit.branches[0](X, {})[0]
    assert torch.allclose(unit(X, {})[0], unit.skip * once + unit.branches[1](once, {})[0], atol=1e-5)
