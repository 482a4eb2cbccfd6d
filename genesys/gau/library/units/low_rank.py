import torch
from torch import nn


class LowRank(nn.Module):
    """Two thin linear maps with tanh between them.

    Shapes: X (B, L, D) -> Y (B, L, D). Complexity: O(B L D R) with R = `rank`. Parameters: 2 D R.
    Source: Hu et al. 2021, "LoRA"; with tanh as in Peng et al. 2024, "Eagle and Finch" (RWKV-6).
    """

    kind = "channel"
    pointwise = True

    def __init__(self, d: int, ctx, *, rank: int = 32):
        super().__init__()
        self.down, self.up = nn.Linear(d, rank, bias=False), nn.Linear(rank, d, bias=False)

    def forward(self, X, Z):
        return self.up(torch.tanh(self.down(X))), {}


def test_output_has_the_rank(make):
    Y, _ = make(d=16, rank=2)(torch.randn(1, 9, 16), {})
    assert torch.linalg.matrix_rank(Y[0].detach()) == 2
