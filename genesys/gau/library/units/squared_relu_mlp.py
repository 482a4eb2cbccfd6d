import torch
from torch import nn
from torch.nn import functional as F


class SquaredReLUMLP(nn.Module):
    """Two linear maps with the square of ReLU between them.

    Shapes: X (B, L, D) -> Y (B, L, D). Complexity: O(B L D^2). Parameters: 2 D H, with the hidden width
    H = expansion * D rounded up to a multiple of 8.
    Source: So et al. 2021, "Primer: Searching for Efficient Transformers for Language Modeling".
    """

    kind = "channel"
    pointwise = True

    def __init__(self, d: int, ctx, *, expansion: float = 4.0):
        super().__init__()
        hidden = 8 * -(-int(expansion * d) // 8)
        self.up = nn.Linear(d, hidden, bias=False)
        self.down = nn.Linear(hidden, d, bias=False)

    def forward(self, X, Z):
        return self.down(F.relu(self.up(X)).square()), {}


def test_is_of_second_degree(make):
    unit, X = make(d=8), torch.randn(1, 3, 8)
    assert torch.allclose(unit(3 * X, {})[0], 9 * unit(X, {})[0], atol=1e-4)
