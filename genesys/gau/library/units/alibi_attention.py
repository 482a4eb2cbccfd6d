import torch
from torch import nn
from torch.nn import functional as F


class ALiBiAttention(nn.Module):
    """Causal softmax attention with a penalty that grows linearly with distance, at another slope in each head.

    Shapes: X (B, L, D) -> Y (B, L, D). Complexity: O(B L^2 D + B L D^2). Parameters: 4 D^2.
    Source: Press, Smith & Lewis 2021, "Train Short, Test Long: Attention with Linear Biases".
    """

    kind = "mixer"

    def __init__(self, d: int, ctx, *, n_heads: int = 8):
        super().__init__()
        self.n_heads = max(h for h in range(1, n_heads + 1) if d % (2 * h) == 0)
        self.qkv, self.out = nn.Linear(d, 3 * d, bias=False), nn.Linear(d, d, bias=False)

    def forward(self, X, Z):
        L = X.shape[1]
        q, k, v = (t.unflatten(-1, (self.n_heads, -1)).transpose(1, 2) for t in self.qkv(X).chunk(3, dim=-1))
        bias_HLL = distance_penalty(L, self.n_heads, X.device).to(X.dtype)
        Y = F.scaled_dot_product_attention(q, k, v, attn_mask=bias_HLL)
        return self.out(Y.transpose(1, 2).flatten(-2)), {}


def distance_penalty(L, n_heads, device):
    """Minus slope times distance to the past, minus infinity to the future; shape (H, L, L)."""
    place = torch.arange(L, device=device)
    distance_LL = (place[:, None] - place).float()
    slope_H11 = 2.0 ** (-8 * torch.arange(1, n_heads + 1, device=device) / n_heads)[:, None, None]
    return (-slope_H11 * distance_LL).masked_fill(distance_LL < 0, float("-inf"))


def test_penalty_depends_on_distance_only(make):
    bias = distance_penalty(6, 2, "cpu")
    assert torch.equal(bias[:, 5, 3], bias[:, 3, 1]) and (bias[:, 5, 3] > bias[:, 5, 2]).all()
