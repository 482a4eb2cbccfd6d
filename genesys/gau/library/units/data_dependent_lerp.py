import torch
from torch import nn
from torch.nn import functional as F


class DataDependentLerp(nn.Module):
    """Blend each vector with the one before it, by shares that the two vectors themselves decide.

    Y = X + (before - X) * (share + f(X + (before - X) * base)), with f the `low_rank` child.
    Shapes: X (B, L, D) -> Y (B, L, D). Complexity: O(B L D) and that of the child. Parameters: 2 D and the child's.
    Source: Peng et al. 2024, "Eagle and Finch: RWKV with Matrix-Valued States and Dynamic Recurrence", eq. 10-12.
    """

    kind = "mixer"
    slots = {"low_rank": {"doc": "how the input moves the shares", "accepts": ("channel",)}}

    def __init__(self, d: int, ctx):
        super().__init__()
        share = 1 - (torch.arange(d) / d) ** (1 - ctx.block_index / max(ctx.n_blocks, 1))
        self.base = ctx.own_init(nn.Parameter(share.clone()))
        self.share = ctx.own_init(nn.Parameter(share))
        self.low_rank = ctx.child("low_rank")

    def forward(self, X, Z):
        step = F.pad(X, (0, 0, 1, 0))[:, :-1] - X
        moved = self.low_rank(torch.addcmul(X, step, self.base), Z)[0]
        return torch.addcmul(X, step, self.share + moved), {}


def test_constant_input_stays(make):
    unit, x = make(d=8), torch.randn(8)
    assert torch.allclose(unit(x.expand(1, 4, 8), {})[0][:, 1:], x.expand(1, 3, 8), atol=1e-6)
