import torch
from torch import nn
from torch.nn import functional as F


class GELUMLP(nn.Module):
    """Two linear maps with GELU between them.

    Shapes: X (B, L, D) -> Y (B, L, D). Complexity: O(B L D^2). Parameters: 2 D H, with the hidden width
    H = expansion * D rounded up to a multiple of 8.
    Source: Vaswani et al. 2017, sec. 3.3, with the GELU of Hendrycks & Gimpel 2016.
    """

    kind = "channel"
    pointwise = True

    def __init__(self, d: int, ctx, *, expansion: float = 4.0):
        super().__init__()
        hidden = 8 * -(-int(expansion * d) // 8)
        self.up = nn.Linear(d, hidden, bias=False)
        self.down = nn.Linear(hidden, d, bias=False)

    def forward(self, X, Z):
        return self.down(F.gelu(self.up(X))), {}


def test_zero_in_zero_out(make):
    assert make(d=8)(torch.zeros(1, 3, 8), {})[0].abs().max() == 0
