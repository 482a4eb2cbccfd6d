import torch
from torch import nn
from torch.nn import functional as F


class Attention(nn.Module):
    """Causal multi-head softmax attention; position enters through the `position` slot on queries and keys.

    Shapes: X (B, L, D) -> Y (B, L, D). Complexity: O(B L^2 D + B L D^2). Parameters: 4 D^2.
    The number of heads falls to the largest divisor of D, not over `n_heads`, that leaves an even head width.
    Source: Vaswani et al. 2017, "Attention Is All You Need".
    """

    kind = "mixer"
    slots = {"position": {"doc": "applied to queries and keys, (B*H, L, D/H)", "accepts": ("position",)}}

    def __init__(self, d: int, ctx, *, n_heads: int = 8):
        super().__init__()
        self.n_heads = max(h for h in range(1, n_heads + 1) if d % (2 * h) == 0)
        self.qkv = nn.Linear(d, 3 * d, bias=False)
        self.out = nn.Linear(d, d, bias=False)
        self.position = ctx.child("position", d // self.n_heads)

    def forward(self, X, Z):
        B, L, D = X.shape
        q, k, v = (t.view(B, L, self.n_heads, -1).transpose(1, 2) for t in self.qkv(X).chunk(3, dim=-1))
        q, k = (self.position(t.flatten(0, 1), Z)[0].view_as(t) for t in (q, k))
        Y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        return self.out(Y.transpose(1, 2).reshape(B, L, D)), {}


def test_first_token_attends_to_itself(make):
    unit = make(d=16, n_heads=2)
    X = torch.randn(1, 4, 16)
    value = unit.qkv(X).chunk(3, dim=-1)[2]
    assert torch.allclose(unit(X, {})[0][:, 0], unit.out(value)[:, 0], atol=1e-5)
