import torch
from torch import nn
from torch.nn import functional as F


class LatentAttention(nn.Module):
    """Causal softmax attention whose keys and values are read from one short latent vector a token.

    Shapes: X (B, L, D) -> Y (B, L, D). Complexity: O(B L^2 D + B L D^2). Parameters: (2 + 3 `ratio`) D^2: the latent
    has R = `ratio` D channels, rounded up to a multiple of 8.
    Source: DeepSeek-AI 2024, "DeepSeek-V2" (multi-head latent attention, without its apart rotary channels).
    """

    kind = "mixer"
    slots = {
        "position": {"doc": "applied to queries and keys, (B*H, L, D/H)", "accepts": ("position",)},
        "norm": {"doc": "on the latent, width R", "accepts": ("norm",)},
    }

    def __init__(self, d: int, ctx, *, n_heads: int = 8, ratio: float = 0.25):
        super().__init__()
        self.n_heads = max(h for h in range(1, n_heads + 1) if d % (2 * h) == 0)
        width = 8 * -(-int(ratio * d) // 8)
        self.query, self.out = nn.Linear(d, d, bias=False), nn.Linear(d, d, bias=False)
        self.down, self.up = nn.Linear(d, width, bias=False), nn.Linear(width, 2 * d, bias=False)
        self.position, self.norm = ctx.child("position", d // self.n_heads), ctx.child("norm", width)

    def forward(self, X, Z):
        k, v = self.up(self.norm(self.down(X), Z)[0]).chunk(2, dim=-1)
        q, k, v = (t.unflatten(-1, (self.n_heads, -1)).transpose(1, 2) for t in (self.query(X), k, v))
        q, k = (self.position(t.flatten(0, 1), Z)[0].view_as(t) for t in (q, k))
        Y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        return self.out(Y.transpose(1, 2).flatten(-2)), {}


def test_first_token_attends_to_itself(make):
    unit, X = make(d=16, n_heads=2), torch.randn(1, 4, 16)
    value = unit.up(unit.down(X))[..., 16:]
    assert torch.allclose(unit(X, {})[0][:, 0], unit.out(value)[:, 0], atol=1e-5)
