import math

import torch
from torch import nn
from torch.nn import functional as F


class RWKV6TimeMix(nn.Module):
    """RWKV-6 attention: a matrix-valued memory in each head, each key channel fading at a rate the input decides.

    S_t = diag(w_t) S_(t-1) + k_t v_t^T and y_t = r_t (S_(t-1) + diag(u) k_t v_t^T), w_t = exp(-exp(decay_t)).
    Short chunks keep it exact and safe: every exponent is a sum of log decays over a span, hence never positive.
    Shapes: X (B, L, D) -> Y (B, L, D). Complexity: O(B L K (C + D / H) + B L D^2), K = `key_ratio` D, chunk C.
    Parameters: about (3 + 2 `key_ratio`) D^2, and those of the five `lerp` children (for w, k, v, r, g).
    Source: Peng et al. 2024, "Eagle and Finch: RWKV with Matrix-Valued States and Dynamic Recurrence", sec. 4.
    """

    kind = "mixer"
    slots = {
        "lerp": {"doc": "lerp[0..4] give the inputs of w, k, v, r, g", "accepts": ("mixer",)},
        "norm": {"doc": "on the values read, before the gate", "accepts": ("norm",)},
    }

    def __init__(self, d: int, ctx, *, n_heads: int = 4, key_ratio: float = 0.5, decay_rank: int = 64, chunk: int = 16):
        super().__init__()
        self.n_heads = max(h for h in range(1, n_heads + 1) if d % h == 0)
        d_key = self.n_heads * max(1, round(key_ratio * d / self.n_heads))
        self.chunk, self.lerps, self.norm = chunk, ctx.children("lerp", 5), ctx.child("norm")
        self.key, self.receptance = nn.Linear(d, d_key, bias=False), nn.Linear(d, d_key, bias=False)
        self.value, self.gate = nn.Linear(d, d, bias=False), nn.Linear(d, d, bias=False)
        self.out = nn.Linear(d, d, bias=False)
        self.decay_down, self.decay_up = nn.Linear(d, decay_rank, bias=False), nn.Linear(decay_rank, d_key, bias=False)
        depth = ctx.block_index / max(ctx.n_blocks - 1, 1)
        place = torch.arange(d_key) / max(d_key - 1, 1)
        self.decay = ctx.own_init(nn.Parameter(-6 + 5 * place ** (0.7 + 1.3 * depth)))
        zigzag = (torch.arange(d_key) % 3 - 1) * 0.1
        self.bonus = ctx.own_init(nn.Parameter(depth * (1 - place) + zigzag))

    def forward(self, X, Z):
        L = X.shape[1]
        for_w, for_k, for_v, for_r, for_g = (lerp(X, Z)[0] for lerp in self.lerps)
        wide = torch.promote_types(X.dtype, torch.float32)
        exponent = self.decay.to(wide) + self.decay_up(torch.tanh(self.decay_down(for_w))).to(wide)
        log_w = -torch.exp(exponent.clamp(max=5.0))  # exp(-exp(5)) is 0 in float32 already
        r, k, v = self.receptance(for_r), self.key(for_k), self.value(for_v)
        r, k, v, log_w = (t.unflatten(-1, (self.n_heads, -1)).transpose(1, 2) for t in (r, k, v, log_w))
        bonus_H1K = self.bonus.view(self.n_heads, 1, -1)
        y = (r * k * bonus_H1K).sum(-1, keepdim=True) * v + fading_memory(r, k, v, log_w, min(self.chunk, L))
        y = self.norm(y.transpose(1, 2).flatten(-2), Z)[0]
        return self.out(y * F.silu(self.gate(for_g))), {}


def fading_memory(r_BHLK, k_BHLK, v_BHLV, log_w_BHLK, chunk):
    """Give r_t S_(t-1) at every place, with S_t = diag(w_t) S_(t-1) + k_t v_t^T."""
    L = r_BHLK.shape[2]
    pad = (0, 0, 0, -L % chunk)
    r, k, v, log_w = (F.pad(t, pad).unflatten(2, (-1, chunk)) for t in (r_BHLK, k_BHLK, v_BHLV, log_w_BHLK))
    upto = log_w.cumsum(3)
    before, whole = upto - log_w, upto[..., -1:, :]
    earlier_CC1 = torch.ones(chunk, chunk, dtype=torch.bool, device=r.device).tril(-1)[..., None]
    span = (before[..., :, None, :] - upto[..., None, :, :]).masked_fill(~earlier_CC1, -math.inf)
    weights_CC = torch.einsum("bhnik,bhnijk->bhnij", r, k[..., None, :, :] * span.exp().to(r.dtype))
    added_KV = (k * torch.exp(whole - upto).to(k.dtype)).transpose(-1, -2) @ v
    fade_K1 = whole.exp().transpose(-1, -2).to(k.dtype)
    S, states = torch.zeros_like(added_KV[:, :, 0]), []
    for n in range(added_KV.shape[2]):
        states.append(S)
        S = fade_K1[:, :, n] * S + added_KV[:, :, n]
    carried = (r * before.exp().to(r.dtype)) @ torch.stack(states, dim=2)
    return (weights_CC @ v + carried).flatten(2, 3)[:, :, :L]


def test_strong_decay_stays_finite(make):
    r, k, v = torch.randn(3, 1, 2, 37, 4)
    y = fading_memory(r, k, v, torch.full((1, 2, 37, 4), -140.0), 16)
    assert y.isfinite().all()
