import torch
from torch import nn


class SandwichNormBlock(nn.Module):
    """A residual block with a norm before and another after each branch: X + norm(f(norm(X))).

    Shapes: X (B, L, D) -> Y (B, L, D). Complexity: that of its children.
    Source: Ding et al. 2021, "CogView", sec. 2.4; Gemma Team 2024, "Gemma 2".
    """

    kind = "block"
    slots = {
        "norm_in": {"doc": "before each branch, norm_in[0] and norm_in[1]", "accepts": ("norm",)},
        "norm_out": {"doc": "after each branch, norm_out[0] and norm_out[1]", "accepts": ("norm",)},
        "mixer": {"doc": "mixes along the sequence", "accepts": ("mixer",)},
        "channel": {"doc": "mixes channels at each position", "accepts": ("channel", "mixer")},
    }
    writes = ("*",)

    def __init__(self, d: int, ctx):
        super().__init__()
        self.norms_in, self.norms_out = ctx.children("norm_in", 2), ctx.children("norm_out", 2)
        self.branches = nn.ModuleList([ctx.child("mixer"), ctx.child("channel")])

    def forward(self, X, Z):
        written = {}
        for norm_in, branch, norm_out in zip(self.norms_in, self.branches, self.norms_out, strict=True):
            Y, dZ = branch(norm_in(X, {**Z, **written})[0], {**Z, **written})
            written = {**written, **dZ}
            X = X + norm_out(Y, {**Z, **written})[0]
        return X, written


def test_applies_two_branches(make):
    unit, X = make(d=8), torch.randn(1, 3, 8)
    once = X + unit.branches[0](X, {})[0]
    assert torch.allclose(unit(X, {})[0], once + unit.branches[1](once, {})[0], atol=1e-6)
