import torch
from torch import nn
from torch.nn import functional as F


class GatedAttention(nn.Module):
    """Causal softmax attention whose heads are gated, channel by channel, by a sigmoid of the input.

    Shapes: X (B, L, D) -> Y (B, L, D). Complexity: O(B L^2 D + B L D^2). Parameters: 5 D^2.
    Source: Qiu et al. 2025, "Gated Attention for Large Language Models".
    """

    kind = "mixer"
    slots = {"position": {"doc": "applied to queries and keys, (B*H, L, D/H)", "accepts": ("position",)}}

    def __init__(self, d: int, ctx, *, n_heads: int = 8):
        super().__init__()
        self.n_heads = max(h for h in range(1, n_heads + 1) if d % (2 * h) == 0)
        self.qkvg, self.out = nn.Linear(d, 4 * d, bias=False), nn.Linear(d, d, bias=False)
        self.position = ctx.child("position", d // self.n_heads)

    def forward(self, X, Z):
        q, k, v, gate = self.qkvg(X).chunk(4, dim=-1)
        q, k, v = (t.unflatten(-1, (self.n_heads, -1)).transpose(1, 2) for t in (q, k, v))
        q, k = (self.position(t.flatten(0, 1), Z)[0].view_as(t) for t in (q, k))
        Y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        return self.out(Y.transpose(1, 2).flatten(-2) * torch.sigmoid(gate)), {}


def test_zero_gate_halves(make):
    unit, X = make(d=16, n_heads=2), torch.randn(1, 4, 16)
    unit.qkvg.weight.data[48:] = 0
    value = unit.qkvg(X)[:, 0, 32:48]
    assert torch.allclose(unit(X, {})[0][:, 0], unit.out(0.5 * value), atol=1e-5)
