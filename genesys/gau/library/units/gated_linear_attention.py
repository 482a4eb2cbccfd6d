import math

import torch
from torch import nn
from torch.nn import functional as F


class GatedLinearAttention(nn.Module):
    """Linear attention whose memory fades at a rate that the input decides for each key channel (GLA).

    S_t = diag(a_t) S_(t-1) + k_t v_t^T, y_t = q_t S_t, with log a_t = logsigmoid(low-rank map of x_t) / `sharpness`.
    Short chunks keep it exact: every exponent is a sum of log decays over a span, hence never positive.
    Shapes: X (B, L, D) -> Y (B, L, D). Complexity: O(B L D (C + D / H) + B L D^2), chunk C, H heads.
    Parameters: about 4 D^2 + 1.5 D R, rank R, and the norm's.
    Source: Yang et al. 2023, "Gated Linear Attention Transformers with Hardware-Efficient Training".
    """

    kind = "mixer"
    slots = {"norm": {"doc": "on the values read, before the gate", "accepts": ("norm",)}}

    def __init__(
        self, d: int, ctx, *, n_heads: int = 4, decay_rank: int = 16, sharpness: float = 16.0, chunk: int = 16
    ):
        super().__init__()
        self.n_heads = max(h for h in range(1, n_heads + 1) if d % (4 * h) == 0)
        self.chunk, self.sharpness, self.widths = chunk, sharpness, (d // 2, d // 2, d, d)
        self.qkvg, self.out = nn.Linear(d, 3 * d, bias=False), nn.Linear(d, d, bias=False)
        self.decay_down, self.decay_up = nn.Linear(d, decay_rank, bias=False), nn.Linear(decay_rank, d // 2)
        self.norm = ctx.child("norm")

    def forward(self, X, Z):
        L = X.shape[1]
        q, k, v, gate = self.qkvg(X).split(self.widths, dim=-1)
        wide = torch.promote_types(X.dtype, torch.float32)
        log_a = F.logsigmoid(self.decay_up(self.decay_down(X)).to(wide)) / self.sharpness
        q, k, v, log_a = (t.unflatten(-1, (self.n_heads, -1)).transpose(1, 2) for t in (q, k, v, log_a))
        y = fading_memory(q * q.shape[-1] ** -0.5, k, v, log_a, min(self.chunk, L))
        y = self.norm(y.transpose(1, 2).flatten(-2), Z)[0]
        return self.out(y * F.silu(gate)), {}


def fading_memory(q_BHLK, k_BHLK, v_BHLV, log_a_BHLK, chunk):
    """Give q_t S_t at every place, with S_t = diag(a_t) S_(t-1) + k_t v_t^T."""
    L = q_BHLK.shape[2]
    pad = (0, 0, 0, -L % chunk)
    q, k, v, log_a = (F.pad(t, pad).unflatten(2, (-1, chunk)) for t in (q_BHLK, k_BHLK, v_BHLV, log_a_BHLK))
    upto = log_a.cumsum(3)
    whole = upto[..., -1:, :]
    past_CC1 = torch.ones(chunk, chunk, dtype=torch.bool, device=q.device).tril()[..., None]
    span = (upto[..., :, None, :] - upto[..., None, :, :]).masked_fill(~past_CC1, -math.inf)
    weights_CC = torch.einsum("bhnik,bhnijk->bhnij", q, k[..., None, :, :] * span.exp().to(q.dtype))
    added_KV = (k * torch.exp(whole - upto).to(k.dtype)).transpose(-1, -2) @ v
    fade_K1 = whole.exp().transpose(-1, -2).to(k.dtype)
    S, states = torch.zeros_like(added_KV[:, :, 0]), []
    for n in range(added_KV.shape[2]):
        states.append(S)
        S = fade_K1[:, :, n] * S + added_KV[:, :, n]
    carried = (q * upto.exp().to(q.dtype)) @ torch.stack(states, dim=2)
    return (weights_CC @ v + carried).flatten(2, 3)[:, :, :L]


def test_chunk_size_does_not_matter(make):
    q, k, v = torch.randn(3, 1, 2, 11, 4)
    log_a = -torch.rand(1, 2, 11, 4)
    assert torch.allclose(fading_memory(q, k, v, log_a, 4), fading_memory(q, k, v, log_a, 11), atol=1e-4)
