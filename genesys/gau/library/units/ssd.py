import math

import torch
from torch import nn
from torch.nn import functional as F


class SSD(nn.Module):
    """The Mamba-2 layer: a state space whose decay is one scalar a head, chosen by the input, in chunked form.

    Each head keeps S_t = exp(-exp(A_log) dt_t) S_(t-1) + dt_t B_t x_t^T and gives C_t S_t + D x_t, with dt, B, C
    linear in X and B, C shared by the heads; x, B, C pass the `conv` child and SiLU; the result is gated and normed.
    Shapes: X (B, L, D) -> Y (B, L, D). Complexity: O(B L E D (C + N) + B L E D^2), chunk C, state N, expansion E.
    Parameters: about 3 E D^2 + 2 D N. The head width falls to a divisor of E D.
    Source: Dao & Gu 2024, "Transformers are SSMs" (Mamba-2), sec. 6 and listing 1.
    """

    kind = "mixer"
    slots = {
        "conv": {"doc": "short causal filter of x, B and C; width expansion * D + 2 d_state", "accepts": ("mixer",)},
        "norm": {"doc": "on the gated result; width expansion * D", "accepts": ("norm",)},
    }

    def __init__(self, d: int, ctx, *, d_state: int = 64, expansion: int = 2, head_width: int = 128, chunk: int = 64):
        super().__init__()
        inner = expansion * d
        self.head_width = max(p for p in range(1, head_width + 1) if inner % p == 0)
        n_heads = inner // self.head_width
        self.chunk, self.widths = chunk, (inner, inner + 2 * d_state, n_heads)
        self.into = nn.Linear(d, sum(self.widths), bias=False)
        self.out = nn.Linear(inner, d, bias=False)
        self.conv, self.norm = ctx.child("conv", inner + 2 * d_state), ctx.child("norm", inner)
        self.A_log = ctx.own_init(nn.Parameter(torch.empty(n_heads).uniform_(1, 16).log()))
        dt = torch.empty(n_heads).uniform_(math.log(1e-3), math.log(1e-1)).exp()
        self.dt_bias = ctx.own_init(nn.Parameter(dt + torch.log(-torch.expm1(-dt))))  # softplus(dt_bias) = dt
        self.skip = ctx.own_init(nn.Parameter(torch.ones(n_heads, 1)))

    def forward(self, X, Z):
        L, inner = X.shape[1], self.widths[0]
        gate, mixed, dt = self.into(X).split(self.widths, dim=-1)
        mixed = F.silu(self.conv(mixed, Z)[0])
        x, keys, queries = mixed.split((inner, *[(mixed.shape[-1] - inner) // 2] * 2), dim=-1)
        wide = torch.promote_types(X.dtype, torch.float32)
        dt_BLH = F.softplus(dt.to(wide) + self.dt_bias.to(wide))
        log_decay_BLH = -torch.exp(self.A_log.to(wide)) * dt_BLH
        x = x.unflatten(-1, (-1, self.head_width))
        y = state_space(x * dt_BLH[..., None].to(x.dtype), log_decay_BLH, keys, queries, min(self.chunk, L))[:, :L]
        y = torch.addcmul(y, x, self.skip).flatten(-2)
        return self.out(self.norm(y * F.silu(gate), Z)[0]), {}


def state_space(x_BLHP, log_decay_BLH, keys_BLN, queries_BLN, chunk):
    """Run the recurrence chunk by chunk; the answer (B, L, H, P) is padded to whole chunks."""
    pad = -x_BLHP.shape[1] % chunk
    x = F.pad(x_BLHP, (0, 0, 0, 0, 0, pad)).unflatten(1, (-1, chunk)).transpose(2, 3)  # B, M chunks, H, C, P
    keys, queries = (F.pad(t, (0, 0, 0, pad)).unflatten(1, (-1, chunk)) for t in (keys_BLN, queries_BLN))
    sum_BMHC = F.pad(log_decay_BLH, (0, 0, 0, pad)).unflatten(1, (-1, chunk)).transpose(2, 3).cumsum(-1)
    past_CC = torch.ones(chunk, chunk, dtype=torch.bool, device=x.device).tril()
    lag_BMHCC = (sum_BMHC[..., :, None] - sum_BMHC[..., None, :]).masked_fill(~past_CC, -math.inf)
    weights_BMHCC = (queries @ keys.transpose(-1, -2))[:, :, None] * lag_BMHCC.exp().to(x.dtype)
    inside = weights_BMHCC @ x
    until_end = torch.exp(sum_BMHC[..., -1:] - sum_BMHC)[..., None].to(x.dtype)
    added_BMHNP = keys.transpose(-1, -2)[:, :, None] @ (x * until_end)
    whole_BMH11 = torch.exp(sum_BMHC[..., -1:, None]).to(x.dtype)
    S, before = torch.zeros_like(added_BMHNP[:, 0]), []
    for m in range(added_BMHNP.shape[1]):
        before.append(S)
        S = whole_BMH11[:, m] * S + added_BMHNP[:, m]
    since_start = torch.exp(sum_BMHC)[..., None].to(x.dtype)
    carried = (queries[:, :, None] @ torch.stack(before, dim=1)) * since_start
    return (inside + carried).transpose(2, 3).flatten(1, 2)


def test_without_decay_it_is_linear_attention(make):
    x, keys, queries = torch.randn(1, 7, 1, 4), torch.randn(1, 7, 3), torch.randn(1, 7, 3)
    expected = (queries @ keys.transpose(1, 2)).tril() @ x[:, :, 0]
    assert torch.allclose(state_space(x, torch.zeros(1, 7, 1), keys, queries, 4)[:, :7, 0], expected, atol=1e-5)
