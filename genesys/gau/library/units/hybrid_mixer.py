import torch
from torch import nn


class HybridMixer(nn.Module):
    """Two mixers side by side, each normed, added with learnt weights of each channel.

    Shapes: X (B, L, D) -> Y (B, L, D). Complexity: the sum of its children's. Parameters: 2 D and the children's.
    Source: Dong et al. 2024, "Hymba: A Hybrid-head Architecture for Small Language Models".
    """

    kind = "mixer"
    slots = {
        "first": {"doc": "one mixer", "accepts": ("mixer",)},
        "second": {"doc": "the other mixer", "accepts": ("mixer",)},
        "norm": {"doc": "norm[0] and norm[1], on their outputs", "accepts": ("norm",)},
    }
    writes = ("*",)

    def __init__(self, d: int, ctx):
        super().__init__()
        self.first, self.second = ctx.child("first"), ctx.child("second")
        self.norms = ctx.children("norm", 2)
        self.weight = ctx.own_init(nn.Parameter(torch.full((2, d), 0.5)))

    def forward(self, X, Z):
        a, dZ = self.first(X, Z)
        b, dZ2 = self.second(X, {**Z, **dZ})
        written = {**dZ, **dZ2}
        a, b = self.norms[0](a, {**Z, **written})[0], self.norms[1](b, {**Z, **written})[0]
        return self.weight[0] * a + self.weight[1] * b, written


def test_starts_as_the_mean(make):
    unit, X = make(d=8), torch.randn(1, 3, 8)
    assert torch.allclose(unit(X, {})[0], (unit.first(X, {})[0] + unit.second(X, {})[0]) / 2, atol=1e-6)
