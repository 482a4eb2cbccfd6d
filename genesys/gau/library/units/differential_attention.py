import math

import torch
from torch import nn
from torch.nn import functional as F


class DifferentialAttention(nn.Module):
    """The difference of two softmax maps, which cancels what both attend to without reason.

    Each head reads (softmax(q1 k1) - mix softmax(q2 k2)) v, mix = exp(a1 b1) - exp(a2 b2) + mix0 with learnt vectors
    a, b, and mix0 = 0.8 - 0.6 exp(-0.3 block); the heads are normed apart and scaled by 1 - mix0.
    Shapes: X (B, L, D) -> Y (B, L, D). Complexity: O(B L^2 D + B L D^2). Parameters: 4 D^2 + O(D).
    Source: Ye et al. 2024, "Differential Transformer".
    """

    kind = "mixer"
    slots = {
        "position": {"doc": "applied to queries and keys, (B*2H, L, D/2H)", "accepts": ("position",)},
        "norm": {"doc": "on what a head read, (B*H, L, D/H)", "accepts": ("norm",)},
    }

    def __init__(self, d: int, ctx, *, n_heads: int = 4):
        super().__init__()
        self.n_heads = max(h for h in range(1, n_heads + 1) if d % (4 * h) == 0)
        width = d // self.n_heads
        self.mix0 = 0.8 - 0.6 * math.exp(-0.3 * ctx.block_index)
        self.mix = ctx.own_init(nn.Parameter(torch.randn(4, width // 2) * 0.1))
        self.qkv, self.out = nn.Linear(d, 3 * d, bias=False), nn.Linear(d, d, bias=False)
        self.position, self.norm = ctx.child("position", width // 2), ctx.child("norm", width)

    def forward(self, X, Z):
        q, k, v = self.qkv(X).chunk(3, dim=-1)
        q, k = (t.unflatten(-1, (2 * self.n_heads, -1)).transpose(1, 2) for t in (q, k))
        q, k = (self.position(t.flatten(0, 1), Z)[0].view_as(t) for t in (q, k))
        v = v.unflatten(-1, (self.n_heads, -1)).transpose(1, 2).repeat_interleave(2, dim=1)
        read = F.scaled_dot_product_attention(q, k, v, is_causal=True).unflatten(1, (-1, 2))
        a1, b1, a2, b2 = self.mix
        mix = torch.exp((a1 * b1).sum()) - torch.exp((a2 * b2).sum()) + self.mix0
        y = read[:, :, 0] - mix * read[:, :, 1]
        y = self.norm(y.flatten(0, 1), Z)[0].view_as(y) * (1 - self.mix0)
        return self.out(y.transpose(1, 2).flatten(-2)), {}


def test_equal_maps_cancel(make):
    unit, X = make(d=16, n_heads=2), torch.randn(1, 5, 16)
    unit.qkv.weight.data[:32] = 0  # both maps uniform
    unit.mix.data.zero_()
    once = unit(X, {})[0] / (1 - unit.mix0) ** 2
    mean = unit.qkv(X)[..., 32:].cumsum(1) / torch.arange(1, 6)[:, None]
    assert torch.allclose(once, unit.out(mean), atol=1e-5)
