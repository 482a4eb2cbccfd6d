import torch
from torch import nn


class ConvMixerBlock(nn.Module):
    """A pre-norm block with three residual branches: a local filter, a mixer, a channel mixer.

    Shapes: X (B, L, D) -> Y (B, L, D). Complexity: that of its children.
    Source: the block of Sun et al. 2024, "Learning to (Learn at Test Time)", with its convolution switched on.
    """

    kind = "block"
    slots = {
        "norm": {"doc": "before each branch, norm[0..2]", "accepts": ("norm",)},
        "local": {"doc": "mixes near tokens", "accepts": ("mixer",)},
        "mixer": {"doc": "mixes along the sequence", "accepts": ("mixer",)},
        "channel": {"doc": "mixes channels at each position", "accepts": ("channel", "mixer")},
    }
    writes = ("*",)

    def __init__(self, d: int, ctx):
        super().__init__()
        self.norms = ctx.children("norm", 3)
        self.branches = nn.ModuleList([ctx.child("local"), ctx.child("mixer"), ctx.child("channel")])

    def forward(self, X, Z):
        written = {}
        for norm, branch in zip(self.norms, self.branches, strict=True):
            Y, dZ = branch(norm(X, {**Z, **written})[0], {**Z, **written})
            X, written = X + Y, {**written, **dZ}
        return X, written


def test_every_branch_counts(make):
    block, X = make(d=8), torch.randn(1, 3, 8)
    Y, _ = block(X, {})
    for branch in block.branches:
        kept = [p.clone() for p in branch.parameters()]
        for p in branch.parameters():
            p.data.zero_()
        assert not torch.allclose(block(X, {})[0], Y)
        for p, old in zip(branch.parameters(), kept, strict=True):
            p.data.copy_(old)
