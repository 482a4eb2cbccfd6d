import torch
from torch import nn


class GatedConv(nn.Module):
    """A convolution between two products: q * conv(k * v), with q, k, v linear in X. With a long filter, Hyena.

    Shapes: X (B, L, D) -> Y (B, L, D). Complexity: O(B L D^2) and that of the child. Parameters: 4 D^2 and the child's.
    Source: Poli et al. 2023, "Hyena Hierarchy"; Arora et al. 2023, "Zoology" (BaseConv).
    """

    kind = "mixer"
    slots = {"conv": {"doc": "mixes k * v along the sequence", "accepts": ("mixer",)}}

    def __init__(self, d: int, ctx):
        super().__init__()
        self.qkv, self.out = nn.Linear(d, 3 * d, bias=False), nn.Linear(d, d, bias=False)
        self.conv = ctx.child("conv")

    def forward(self, X, Z):
        q, k, v = self.qkv(X).chunk(3, dim=-1)
        return self.out(q * self.conv(k * v, Z)[0]), {}


def test_is_of_third_degree(make):
    unit, X = make(d=8), torch.randn(1, 4, 8)
    assert torch.allclose(unit(2 * X, {})[0], 8 * unit(X, {})[0], atol=1e-4)
