import torch
from torch import nn
from torch.nn import functional as F


class RWKV7ChannelMix(nn.Module):
    """RWKV-7 feed-forward: squared ReLU on a blend of each vector with the one before it, with no gate.

    Shapes: X (B, L, D) -> Y (B, L, D). Complexity: O(B L D H). Parameters: 2 D H + D with H = expansion * D, rounded
    up to a multiple of 8. A mixer, since its input holds the token before.
    Source: Peng et al. 2025, "RWKV-7 Goose with Expressive Dynamic State Evolution", sec. 4.
    """

    kind = "mixer"

    def __init__(self, d: int, ctx, *, expansion: float = 4.0):
        super().__init__()
        hidden = 8 * -(-int(expansion * d) // 8)
        left = 1 - ctx.block_index / max(ctx.n_blocks, 1)
        self.share = ctx.own_init(nn.Parameter(1 - (torch.arange(d) / d) ** left**4))
        self.key, self.value = nn.Linear(d, hidden, bias=False), nn.Linear(hidden, d, bias=False)

    def forward(self, X, Z):
        before = F.pad(X, (0, 0, 1, 0))[:, :-1]
        return self.value(F.relu(self.key(torch.addcmul(X, before - X, self.share))).square()), {}


def test_share_one_sees_only_the_token_before(make):
    unit, X = make(d=8), torch.randn(1, 5, 8)
    unit.share.data.fill_(1.0)
    other = torch.cat([X[:, :4], torch.randn(1, 1, 8)], dim=1)
    assert torch.allclose(unit(X, {})[0], unit(other, {})[0], atol=1e-6)
