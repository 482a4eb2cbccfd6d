import torch
from torch import nn
from torch.nn import functional as F


class GroupedQueryAttention(nn.Module):
    """Causal softmax attention in which groups of query heads share one key and value head.

    Shapes: X (B, L, D) -> Y (B, L, D). Complexity: O(B L^2 D + B L D^2).
    Parameters: (2 + 2 G / H) D^2, G groups, H heads.
    Source: Ainslie et al. 2023, "GQA: Training Generalized Multi-Query Transformer Models".
    """

    kind = "mixer"
    slots = {"position": {"doc": "applied to queries and keys, (B*H, L, D/H)", "accepts": ("position",)}}

    def __init__(self, d: int, ctx, *, n_heads: int = 8, n_groups: int = 2):
        super().__init__()
        self.n_heads = max(h for h in range(1, n_heads + 1) if d % (2 * h) == 0)
        self.n_groups = max(g for g in range(1, n_groups + 1) if self.n_heads % g == 0)
        self.query, self.out = nn.Linear(d, d, bias=False), nn.Linear(d, d, bias=False)
        self.key_value = nn.Linear(d, 2 * self.n_groups * (d // self.n_heads), bias=False)
        self.position = ctx.child("position", d // self.n_heads)

    def forward(self, X, Z):
        q = self.query(X).unflatten(-1, (self.n_heads, -1)).transpose(1, 2)
        k, v = (t.unflatten(-1, (self.n_groups, -1)).transpose(1, 2) for t in self.key_value(X).chunk(2, dim=-1))
        q, k = (self.position(t.flatten(0, 1), Z)[0].view_as(t) for t in (q, k))
        k, v = (t.repeat_interleave(self.n_heads // self.n_groups, dim=1) for t in (k, v))
        Y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        return self.out(Y.transpose(1, 2).flatten(-2)), {}


def test_first_token_attends_to_itself(make):
    unit, X = make(d=16, n_heads=4, n_groups=2), torch.randn(1, 4, 16)
    value = unit.key_value(X)[:, 0, 8:].view(2, 4).repeat_interleave(2, dim=0).flatten()
    assert torch.allclose(unit(X, {})[0][0, 0], unit.out(value), atol=1e-5)
