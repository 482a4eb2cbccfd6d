import math

import torch
from torch import nn
from torch.nn import functional as F


class GatedDeltaNet(nn.Module):
    """The delta rule with a memory that also fades, at a rate that the input decides for each head.

    S_t = a_t (S_(t-1) - rate_t k_t (k_t S_(t-1))^T) + rate_t k_t v_t^T and y_t = q_t S_t, with
    log a_t = -exp(A) softplus(linear map of x_t).
    Chunks are walked; inside one a unit triangular system is solved, with decays as differences of their sums.
    Shapes: X (B, L, D) -> Y (B, L, D). Complexity: O(B L D (C + D / H) + B L D^2), chunk C, H heads.
    Parameters: 5 D^2 + 2 D H, and the children's.
    Source: Yang et al. 2024, "Gated Delta Networks: Improving Mamba2 with Delta Rule".
    """

    kind = "mixer"
    slots = {
        "conv": {"doc": "short causal filter of queries, keys and values; width 3 D", "accepts": ("mixer",)},
        "norm": {"doc": "on what a head read, (B*H, L, D/H)", "accepts": ("norm",)},
    }

    def __init__(self, d: int, ctx, *, n_heads: int = 4, chunk: int = 32):
        super().__init__()
        self.n_heads = max(h for h in range(1, n_heads + 1) if d % (4 * h) == 0)
        self.chunk = chunk
        self.qkv, self.out = nn.Linear(d, 3 * d, bias=False), nn.Linear(d, d, bias=False)
        self.gate = nn.Linear(d, d, bias=False)
        self.rate_decay = nn.Linear(d, 2 * self.n_heads, bias=False)
        self.A_log = ctx.own_init(nn.Parameter(torch.linspace(1.0, 16.0, self.n_heads).log()))
        self.decay_bias = ctx.own_init(nn.Parameter(torch.linspace(-6.0, -2.5, self.n_heads)))
        self.conv, self.norm = ctx.child("conv", 3 * d), ctx.child("norm", d // self.n_heads)

    def forward(self, X, Z):
        L = X.shape[1]
        mixed = F.silu(self.conv(self.qkv(X), Z)[0])
        q, k, v = (t.unflatten(-1, (self.n_heads, -1)).transpose(1, 2) for t in mixed.chunk(3, dim=-1))
        q, k = F.normalize(q, dim=-1), F.normalize(k, dim=-1)
        rate, decay = self.rate_decay(X).transpose(1, 2).chunk(2, dim=1)
        wide = torch.promote_types(X.dtype, torch.float32)
        step = F.softplus(decay.to(wide) + self.decay_bias.to(wide)[:, None])
        log_a = -self.A_log.to(wide).exp()[:, None] * step
        y = gated_delta_rule(q, k, v, torch.sigmoid(rate), log_a, min(self.chunk, L))[:, :, :L]
        y = self.norm(y.flatten(0, 1), Z)[0].view_as(y)
        return self.out(y.transpose(1, 2).flatten(-2) * F.silu(self.gate(X))), {}


def gated_delta_rule(q_BHLK, k_BHLK, v_BHLV, rate_BHL, log_a_BHL, chunk):
    """Run the fading delta rule chunk by chunk; the answer is padded to whole chunks."""
    pad = -q_BHLK.shape[2] % chunk
    q, k, v = (F.pad(t, (0, 0, 0, pad)).unflatten(2, (-1, chunk)) for t in (q_BHLK, k_BHLK, v_BHLV))
    rate, log_a = (F.pad(t, (0, pad)).unflatten(2, (-1, chunk)) for t in (rate_BHL, log_a_BHL))
    rate, upto = rate[..., None], log_a.cumsum(-1)
    past_CC = torch.ones(chunk, chunk, dtype=torch.bool, device=q.device).tril()
    fade_CC = (upto[..., :, None] - upto[..., None, :]).masked_fill(~past_CC, -math.inf).exp()
    since, until = upto[..., None].exp().to(q.dtype), (upto[..., -1:] - upto)[..., None].exp().to(q.dtype)
    system = (((rate * k) @ k.transpose(-1, -2)) * fade_CC).tril(-1)  # in float32 at least, as the solver wants it
    right = torch.cat([rate * v, rate * since * k], dim=-1).to(system.dtype)
    solved = torch.linalg.solve_triangular(system, right, upper=False, unitriangular=True).to(q.dtype)
    goal, seen = solved.split((v.shape[-1], k.shape[-1]), dim=-1)
    within, q, k_until = (q @ k.transpose(-1, -2)) * fade_CC.to(q.dtype), q * since, k * until
    S, answers = torch.zeros_like(k[:, :, 0].transpose(-1, -2) @ v[:, :, 0]), []
    for n in range(q.shape[2]):
        change = goal[:, :, n] - seen[:, :, n] @ S
        answers.append(q[:, :, n] @ S + within[:, :, n] @ change)
        S = since[:, :, n, -1:] * S + k_until[:, :, n].transpose(-1, -2) @ change
    return torch.cat(answers, dim=2)


def test_equals_the_recurrence(make):
    q, k, v = torch.randn(3, 1, 2, 11, 4)
    k, rate, log_a = F.normalize(k, dim=-1), torch.rand(1, 2, 11), -torch.rand(1, 2, 11)
    S, expected = torch.zeros(1, 2, 4, 4), []
    for t in range(11):
        S = log_a[:, :, t, None, None].exp() * S
        error = v[:, :, t] - (k[:, :, t, None] @ S)[:, :, 0]
        S = S + rate[:, :, t, None, None] * k[:, :, t, :, None] * error[:, :, None]
        expected.append(q[:, :, t, None] @ S)
    assert torch.allclose(gated_delta_rule(q, k, v, rate, log_a, 4)[:, :, :11], torch.cat(expected, 2), atol=1e-4)
