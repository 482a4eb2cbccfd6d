import torch
from torch import nn
from torch.nn import functional as F


class MemoryAttention(nn.Module):
    """Causal softmax attention that can also read learnt key and value vectors which no input wrote.

    Shapes: X (B, L, D) -> Y (B, L, D). Complexity: O(B L (L + M) D + B L D^2), M = `n_memory`.
    Parameters: 4 D^2 + 2 M D.
    Source: Sukhbaatar et al. 2019, "Augmenting Self-attention with Persistent Memory".
    """

    kind = "mixer"
    slots = {"position": {"doc": "applied to queries and keys of the input, (B*H, L, D/H)", "accepts": ("position",)}}

    def __init__(self, d: int, ctx, *, n_heads: int = 8, n_memory: int = 8):
        super().__init__()
        self.n_heads = max(h for h in range(1, n_heads + 1) if d % (2 * h) == 0)
        self.qkv, self.out = nn.Linear(d, 3 * d, bias=False), nn.Linear(d, d, bias=False)
        self.memory = ctx.own_init(nn.Parameter(torch.randn(2, self.n_heads, n_memory, d // self.n_heads) * 0.5))
        self.position = ctx.child("position", d // self.n_heads)

    def forward(self, X, Z):
        B, L, _ = X.shape
        q, k, v = (t.unflatten(-1, (self.n_heads, -1)).transpose(1, 2) for t in self.qkv(X).chunk(3, dim=-1))
        q, k = (self.position(t.flatten(0, 1), Z)[0].view_as(t) for t in (q, k))
        memory = self.memory.expand(B, -1, -1, -1, -1)
        k, v = torch.cat([memory[:, 0], k], dim=2), torch.cat([memory[:, 1], v], dim=2)
        seen = torch.ones(L, k.shape[2], dtype=torch.bool, device=X.device).tril(k.shape[2] - L)
        Y = F.scaled_dot_product_attention(q, k, v, attn_mask=seen)
        return self.out(Y.transpose(1, 2).flatten(-2)), {}

    def extra_repr(self):
        return f"n_memory={self.memory.shape[2]}"


def test_first_token_reads_the_memory(make):
    unit, X = make(d=16, n_heads=2), torch.randn(1, 4, 16)
    Y, _ = unit(X, {})
    unit.memory.data[1] += 1
    assert not torch.allclose(unit(X, {})[0][:, 0], Y[:, 0])
