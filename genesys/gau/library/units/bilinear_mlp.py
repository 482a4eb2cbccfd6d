import torch
from torch import nn


class BilinearMLP(nn.Module):
    """The product of two linear maps, mapped back: a gated MLP without activation.

    Shapes: X (B, L, D) -> Y (B, L, D). Complexity: O(B L D^2). Parameters: 3 D H, with the hidden width
    H = expansion * D rounded up to a multiple of 8.
    Source: Shazeer 2020, "GLU Variants Improve Transformer" (Bilinear); Dauphin et al. 2016.
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
        return self.down(a * b), {}


def test_is_of_second_degree(make):
    unit, X = make(d=8), torch.randn(1, 3, 8)
    assert torch.allclose(unit(-2 * X, {})[0], 4 * unit(X, {})[0], atol=1e-4)
