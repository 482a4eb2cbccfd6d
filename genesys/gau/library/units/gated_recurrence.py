import torch
from torch import nn
from torch.nn import functional as F


class GatedRecurrence(nn.Module):
    """A linear recurrence of each channel, with decay and intake chosen by the input, next to a GELU branch.

    h_t = a_t h_(t-1) + sqrt(1 - a_t^2) i_t x_t, log a_t = -c softplus(A) r_t, i and r sigmoids of x. The recurrence is
    solved by doubling: after step j each place holds the sum over its last 2^j places.
    Shapes: X (B, L, D) -> Y (B, L, D). Complexity: O(B L log(L) D + B L D^2).
    Parameters: 5 D^2 + O(D), and the child's.
    Source: De et al. 2024, "Griffin: Mixing Gated Linear Recurrences with Local Attention" (RG-LRU).
    """

    kind = "mixer"
    slots = {"conv": {"doc": "short causal filter before the recurrence", "accepts": ("mixer",)}}

    def __init__(self, d: int, ctx, *, c: float = 8.0):
        super().__init__()
        self.c = c
        self.into, self.out = nn.Linear(d, 2 * d, bias=False), nn.Linear(d, d, bias=False)
        self.gates = nn.Linear(d, 2 * d)
        decay = torch.linspace(0.9, 0.999, d) ** (1 / c)  # a at r = 1 is decay^c
        self.A = ctx.own_init(nn.Parameter(torch.log(torch.expm1(-decay.log()))))
        self.conv = ctx.child("conv")

    def forward(self, X, Z):
        x, branch = self.into(X).chunk(2, dim=-1)
        x = self.conv(x, Z)[0]
        wide = torch.promote_types(X.dtype, torch.float32)
        r, i = torch.sigmoid(self.gates(x)).chunk(2, dim=-1)
        log_a = -self.c * F.softplus(self.A.to(wide)) * r.to(wide)
        intake = torch.sqrt(-torch.expm1(2 * log_a) + 1e-12)
        h = solve_recurrence(log_a.exp(), intake * (i * x).to(wide)).to(X.dtype)
        return self.out(h * F.gelu(branch)), {}


def solve_recurrence(a_BLD, b_BLD):
    """Give h_t = a_t h_(t-1) + b_t from h = 0 on, by log2(L) doublings."""
    span, L = 1, a_BLD.shape[1]
    while span < L:
        b_BLD = b_BLD + a_BLD * F.pad(b_BLD, (0, 0, span, 0))[:, :L]
        a_BLD = a_BLD * F.pad(a_BLD, (0, 0, span, 0))[:, :L]
        span *= 2
    return b_BLD


def test_equals_the_recurrence(make):
    a, b = torch.rand(2, 1, 13, 4)
    h, expected = torch.zeros(1, 4), []
    for t in range(13):
        h = a[:, t] * h + b[:, t]
        expected.append(h)
    assert torch.allclose(solve_recurrence(a, b), torch.stack(expected, 1), atol=1e-5)
