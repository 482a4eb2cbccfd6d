import torch
from torch import nn
from torch.nn import functional as F


class QKNormAttention(nn.Module):
    """Causal softmax attention with a norm on each query and key, so that logits cannot run away.

    Shapes: X (B, L, D) -> Y (B, L, D). Complexity: O(B L^2 D + B L D^2). Parameters: 4 D^2 and the children's.
    Source: Henry et al. 2020, "Query-Key Normalization for Transformers"; Dehghani et al. 2023, "Scaling ViT to 22B".
    """

    kind = "mixer"
    slots = {
        "norm": {"doc": "norm[0] on queries, norm[1] on keys, (B*H, L, D/H)", "accepts": ("norm",)},
        "position": {"doc": "after the norm, (B*H, L, D/H)", "accepts": ("position",)},
    }

    def __init__(self, d: int, ctx, *, n_heads: int = 8):
        super().__init__()
        self.n_heads = max(h for h in range(1, n_heads + 1) if d % (4 * h) == 0)
        self.qkv, self.out = nn.Linear(d, 3 * d, bias=False), nn.Linear(d, d, bias=False)
        self.norms = ctx.children("norm", 2, d // self.n_heads)
        self.position = ctx.child("position", d // self.n_heads)

    def forward(self, X, Z):
        q, k, v = (t.unflatten(-1, (self.n_heads, -1)).transpose(1, 2) for t in self.qkv(X).chunk(3, dim=-1))
        q, k = (
            self.position(norm(t.flatten(0, 1), Z)[0], Z)[0].view_as(t)
            for norm, t in zip(self.norms, (q, k), strict=True)
        )
        Y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        return self.out(Y.transpose(1, 2).flatten(-2)), {}


def test_first_token_attends_to_itself(make):
    unit, X = make(d=16, n_heads=2), torch.randn(1, 4, 16)
    value = unit.qkv(X).chunk(3, dim=-1)[2]
    assert torch.allclose(unit(X, {})[0][:, 0], unit.out(value)[:, 0], atol=1e-5)
