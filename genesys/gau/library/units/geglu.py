import torch
from torch import nn
from torch.nn import functional as F


class GeGLU(nn.Module):
    """Gated MLP: a linear map gated by GELU of another, then mapped back.

    Shapes: X (B, L, D) -> Y (B, L, D). Complexity: O(B L D^2). Parameters: 3 D H, with the hidden width
    H = expansion * D rounded up to a multiple of 8.
    Source: Shazeer 2020, "GLU Variants Improve Transformer".
    """

    kind = "channel"
    pointwise = True

    def __init__(self, d: int, ctx, *, expansion: float = 2.6667):
        super().__init__()
        hidden = 8 * -(-int(expansion * d) // 8)
        self.up = nn.Linear(d, 2 * hidden, bias=False)
        self.down = nn.Linear(hidden, d, bias=False)

    def forward(self, X, Z):
        a, b = self.up(X).chunk(2, dim=-1)
        return self.down(F.gelu(a) * b), {}


def test_zero_in_zero_out(make):
    assert make(d=8)(torch.zeros(1, 3, 8), {})[0].abs().max() == 0
