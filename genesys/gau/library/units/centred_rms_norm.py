import torch
from torch import nn
from torch.nn import functional as F


class CentredRMSNorm(nn.Module):
    """Root mean square norm whose scale is 1 + weight: weights pulled to zero give the plain norm.

    Shapes: X (B, L, D) -> Y (B, L, D). Complexity: O(B L D). Parameters: D.
    Source: Gemma Team 2024, "Gemma: Open Models Based on Gemini Research and Technology".
    """

    kind = "norm"

    def __init__(self, d: int, ctx, *, eps: float = 1e-6):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(d))
        self.eps = eps

    def forward(self, X, Z):
        return F.rms_norm(X, self.weight.shape, 1 + self.weight, self.eps), {}


def test_mean_square_is_one(make):
    Y, _ = make(d=16)(torch.randn(2, 5, 16) * 7, {})
    assert torch.allclose(Y.pow(2).mean(-1), torch.ones(2, 5), atol=1e-4)
