import torch
from torch import nn
from torch.nn import functional as F


class MultiQueryAttention(nn.Module):
    """Causal softmax attention in which all query heads share one key and one value head.

    Shapes: X (B, L, D) -> Y (B, L, D). Complexity: O(B L^2 D + B L D^2). Parameters: (2 + 2 / H) D^2, H heads.
    Source: Shazeer 2019, "Fast Transformer Decoding: One Write-Head is All You Need".
    """

    kind = "mixer"
    slots = {"position": {"doc": "applied to queries and keys, (B*H, L, D/H)", "accepts": ("position",)}}

    def __init__(self, d: int, ctx, *, n_heads: int = 8):
        super().__init__()
        self.n_heads = max(h for h in range(1, n_heads + 1) if d % (2 * h) == 0)
        self.query, self.out = nn.Linear(d, d, bias=False), nn.Linear(d, d, bias=False)
        self.key_value = nn.Linear(d, 2 * d // self.n_heads, bias=False)
        self.position = ctx.child("position", d // self.n_heads)

    def forward(self, X, Z):
        q = self.query(X).unflatten(-1, (self.n_heads, -1)).transpose(1, 2)
        k, v = (t[:, None] for t in self.key_value(X).chunk(2, dim=-1))
        q, k = (self.position(t.flatten(0, 1), Z)[0].view_as(t) for t in (q, k))
        k, v = k.expand_as(q), v.expand_as(q)
        Y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        return self.out(Y.transpose(1, 2).flatten(-2)), {}


def test_heads_read_the_same_values(make):
    unit, X = make(d=16, n_heads=4), torch.randn(1, 4, 16)
    value = unit.key_value(X)[:, 0, 4:].repeat(1, 4)
    assert torch.allclose(unit(X, {})[0][:, 0], unit.out(value), atol=1e-5)
