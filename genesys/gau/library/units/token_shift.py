import torch
from torch import nn
from torch.nn import functional as F


class TokenShift(nn.Module):
    """Blend each vector with the one before it by a learnt share of each channel.

    Shapes: X (B, L, D) -> Y (B, L, D). Complexity: O(B L D). Parameters: D.
    Source: Peng et al. 2023, "RWKV: Reinventing RNNs for the Transformer Era", sec. 3.1.1.
    """

    kind = "mixer"

    def __init__(self, d: int, ctx):
        super().__init__()
        depth = 1 - ctx.block_index / max(ctx.n_blocks, 1)
        self.share = ctx.own_init(nn.Parameter(1 - (torch.arange(d) / d) ** depth))

    def forward(self, X, Z):
        before = F.pad(X, (0, 0, 1, 0))[:, :-1]
        return torch.lerp(X, before, self.share.to(X.dtype).expand_as(X)), {}


def test_share_one_is_a_delay(make):
    unit, X = make(d=8), torch.randn(1, 5, 8)
    unit.share.data.fill_(1.0)
    assert torch.equal(unit(X, {})[0][:, 1:], X[:, :-1])
