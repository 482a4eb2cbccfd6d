import torch
from torch import nn
from torch.nn import functional as F


class LinearAttention(nn.Module):
    """Causal attention with the kernel (elu(q) + 1)(elu(k) + 1) in place of softmax, in chunked form.

    Shapes: X (B, L, D) -> Y (B, L, D). Complexity: O(B L D (C + D / H) + B L D^2), chunk C, H heads.
    Parameters: 4 D^2.
    Source: Katharopoulos et al. 2020, "Transformers are RNNs: Fast Autoregressive Transformers with Linear Attention".
    """

    kind = "mixer"
    slots = {"position": {"doc": "on queries and keys before the kernel, (B*H, L, D/H)", "accepts": ("position",)}}

    def __init__(self, d: int, ctx, *, n_heads: int = 8, chunk: int = 64):
        super().__init__()
        self.n_heads = max(h for h in range(1, n_heads + 1) if d % (4 * h) == 0)
        self.chunk = chunk
        self.qkv, self.out = nn.Linear(d, 3 * d, bias=False), nn.Linear(d, d, bias=False)
        self.position = ctx.child("position", d // self.n_heads)

    def forward(self, X, Z):
        L = X.shape[1]
        q, k, v = (t.unflatten(-1, (self.n_heads, -1)).transpose(1, 2) for t in self.qkv(X).chunk(3, dim=-1))
        q, k = (F.elu(self.position(t.flatten(0, 1), Z)[0].view_as(t)) + 1 for t in (q, k))
        read = read_sum(q, k, F.pad(v, (0, 1), value=1.0), min(self.chunk, L))[:, :, :L]
        Y = read[..., :-1] / (read[..., -1:] + 1e-6)
        return self.out(Y.transpose(1, 2).flatten(-2)), {}


def read_sum(q_BHLK, k_BHLK, v_BHLV, chunk):
    """Give q_t times the sum of k_s v_s^T over s <= t; the answer is padded to whole chunks."""
    pad = (0, 0, 0, -q_BHLK.shape[2] % chunk)
    q, k, v = (F.pad(t, pad).unflatten(2, (-1, chunk)) for t in (q_BHLK, k_BHLK, v_BHLV))
    added = k.transpose(-1, -2) @ v
    before = added.cumsum(2) - added
    return ((q @ k.transpose(-1, -2)).tril() @ v + q @ before).flatten(2, 3)


def test_equals_the_masked_product(make):
    q, k, v = torch.randn(3, 1, 2, 11, 4)
    expected = (q @ k.transpose(-1, -2)).tril() @ v
    assert torch.allclose(read_sum(q, k, v, 4)[:, :, :11], expected, atol=1e-4)


def test_constant_values_are_given_back(make):
    unit = make(d=16)
    v = torch.ones(1, 2, 9, 4)
    q, k = torch.rand(2, 1, 2, 9, 3)
    read = read_sum(q, k, F.pad(v, (0, 1), value=1.0), unit.chunk)[:, :, :9]
    assert torch.allclose(read[..., :-1] / read[..., -1:], v, atol=1e-5)
