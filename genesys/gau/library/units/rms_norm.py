import torch
from torch import nn
from torch.nn import functional as F


class RMSNorm(nn.Module):
    """Divide each vector by its root mean square and scale it per channel.

    Shapes: X (B, L, D) -> Y (B, L, D). Complexity: O(B L D). Parameters: D.
    Source: Zhang & Sennrich 2019, "Root Mean Square Layer Normalization".
    """

    kind = "norm"

    def __init__(self, d: int, ctx, *, eps: float = 1e-6):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(d))
        self.eps = eps

    def forward(self, X, Z):
        return F.rms_norm(X, self.weight.shape, self.weight, self.eps), {}


def test_mean_square_is_one(make):
    Y, _ = make(d=16)(torch.randn(2, 5, 16) * 7, {})
    assert torch.allclose(Y.pow(2).mean(-1), torch.ones(2, 5), atol=1e-4)
