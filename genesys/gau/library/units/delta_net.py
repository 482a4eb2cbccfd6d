import torch
from torch import nn
from torch.nn import functional as F


class DeltaNet(nn.Module):
    """A matrix memory that replaces what it holds for a key instead of adding to it: the delta rule, chunked.

    S_t = S_(t-1) - rate_t k_t (k_t S_(t-1) - v_t)^T and y_t = q_t S_t, keys of length 1, rate in (0, 1). Inside a chunk
    the corrections solve a unit triangular system (the WY form), so that chunks, not tokens, are walked.
    Shapes: X (B, L, D) -> Y (B, L, D). Complexity: O(B L D (C + D / H) + B L D^2), chunk C, H heads.
    Parameters: 4 D^2 + D H, and the children's.
    Source: Yang et al. 2024, "Parallelizing Linear Transformers with the Delta Rule over Sequence Length".
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
        self.rate = nn.Linear(d, self.n_heads, bias=False)
        self.conv, self.norm = ctx.child("conv", 3 * d), ctx.child("norm", d // self.n_heads)

    def forward(self, X, Z):
        L = X.shape[1]
        mixed = F.silu(self.conv(self.qkv(X), Z)[0])
        q, k, v = (t.unflatten(-1, (self.n_heads, -1)).transpose(1, 2) for t in mixed.chunk(3, dim=-1))
        q, k = F.normalize(q, dim=-1), F.normalize(k, dim=-1)
        y = delta_rule(q, k, v, torch.sigmoid(self.rate(X)).transpose(1, 2), min(self.chunk, L))[:, :, :L]
        y = self.norm(y.flatten(0, 1), Z)[0].view_as(y)
        return self.out(y.transpose(1, 2).flatten(-2)), {}


def delta_rule(q_BHLK, k_BHLK, v_BHLV, rate_BHL, chunk):
    """Run the delta rule chunk by chunk; the answer is padded to whole chunks."""
    pad = -q_BHLK.shape[2] % chunk
    q, k, v = (F.pad(t, (0, 0, 0, pad)).unflatten(2, (-1, chunk)) for t in (q_BHLK, k_BHLK, v_BHLV))
    rate = F.pad(rate_BHL, (0, pad)).unflatten(2, (-1, chunk))[..., None]
    wide = torch.promote_types(q.dtype, torch.float32)  # the solver knows no half precision
    system = ((rate * k) @ k.transpose(-1, -2)).to(wide).tril(-1)
    right = torch.cat([rate * v, rate * k], dim=-1).to(wide)
    solved = torch.linalg.solve_triangular(system, right, upper=False, unitriangular=True).to(q.dtype)
    goal, seen = solved.split((v.shape[-1], k.shape[-1]), dim=-1)
    within = (q @ k.transpose(-1, -2)).tril()
    S, answers = torch.zeros_like(k[:, :, 0].transpose(-1, -2) @ v[:, :, 0]), []
    for n in range(q.shape[2]):
        change = goal[:, :, n] - seen[:, :, n] @ S
        answers.append(q[:, :, n] @ S + within[:, :, n] @ change)
        S = S + k[:, :, n].transpose(-1, -2) @ change
    return torch.cat(answers, dim=2)


def test_equals_the_recurrence(make):
    q, k, v = torch.randn(3, 1, 2, 11, 4)
    k, rate = F.normalize(k, dim=-1), torch.rand(1, 2, 11)
    S, expected = torch.zeros(1, 2, 4, 4), []
    for t in range(11):
        error = v[:, :, t] - (k[:, :, t, None] @ S)[:, :, 0]
        S = S + rate[:, :, t, None, None] * k[:, :, t, :, None] * error[:, :, None]
        expected.append(q[:, :, t, None] @ S)
    assert torch.allclose(delta_rule(q, k, v, rate, 4)[:, :, :11], torch.cat(expected, 2), atol=1e-4)
