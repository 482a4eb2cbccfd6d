import torch
from torch import nn
from torch.nn import functional as F


class SlidingWindowAttention(nn.Module):
    """Causal softmax attention to the last W places, cut into blocks of W that see themselves and the one before.

    Shapes: X (B, L, D) -> Y (B, L, D). Complexity: O(B L W D + B L D^2), W = `window`. Parameters: 4 D^2.
    Source: Beltagy, Peters & Cohan 2020, "Longformer: The Long-Document Transformer".
    """

    kind = "mixer"
    slots = {"position": {"doc": "applied to queries and keys, (B*H, L, D/H)", "accepts": ("position",)}}

    def __init__(self, d: int, ctx, *, n_heads: int = 8, window: int = 32):
        super().__init__()
        self.n_heads = max(h for h in range(1, n_heads + 1) if d % (2 * h) == 0)
        self.window = window
        self.qkv, self.out = nn.Linear(d, 3 * d, bias=False), nn.Linear(d, d, bias=False)
        self.position = ctx.child("position", d // self.n_heads)

    def forward(self, X, Z):
        L = X.shape[1]
        q, k, v = (t.unflatten(-1, (self.n_heads, -1)).transpose(1, 2) for t in self.qkv(X).chunk(3, dim=-1))
        q, k = (self.position(t.flatten(0, 1), Z)[0].view_as(t) for t in (q, k))
        Y = windowed(q, k, v, min(self.window, L))[:, :, :L]
        return self.out(Y.transpose(1, 2).flatten(-2)), {}


def windowed(q_BHLP, k_BHLP, v_BHLP, window):
    """Attend to the last `window` places; the answer is padded to whole blocks."""
    pad = (0, 0, 0, -q_BHLP.shape[2] % window)
    q, k, v = (F.pad(t, pad).unflatten(2, (-1, window)) for t in (q_BHLP, k_BHLP, v_BHLP))
    k, v = (torch.cat([F.pad(t, (0, 0, 0, 0, 1, 0))[:, :, :-1], t], dim=3) for t in (k, v))
    place = torch.arange(window, device=q.device)
    distance = place[:, None] + window - torch.arange(2 * window, device=q.device)
    near = (distance >= 0) & (distance < window)
    block = torch.arange(q.shape[2], device=q.device)[:, None, None]
    exists = (block > 0) | (torch.arange(2 * window, device=q.device) >= window)
    return F.scaled_dot_product_attention(q, k, v, attn_mask=near & exists).flatten(2, 3)


def test_equals_a_band_mask(make):
    q, k, v = torch.randn(3, 1, 2, 11, 4)
    band = torch.ones(11, 11, dtype=torch.bool).tril().triu(-3)
    expected = F.scaled_dot_product_attention(q, k, v, attn_mask=band)
    assert torch.allclose(windowed(q, k, v, 4)[:, :, :11], expected, atol=1e-5)
