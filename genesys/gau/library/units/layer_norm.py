import torch
from torch import nn
from torch.nn import functional as F


class LayerNorm(nn.Module):
    """Bring each vector to mean 0 and variance 1, then scale and shift it per channel.

    Shapes: X (B, L, D) -> Y (B, L, D). Complexity: O(B L D). Parameters: 2 D.
    Source: Ba, Kiros & Hinton 2016, "Layer Normalization".
    """

    kind = "norm"

    def __init__(self, d: int, ctx, *, eps: float = 1e-5):
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.ones(d)), nn.Parameter(torch.zeros(d))
        self.eps = eps

    def forward(self, X, Z):
        return F.layer_norm(X, self.weight.shape, self.weight, self.bias, self.eps), {}


def test_mean_zero_variance_one(make):
    Y, _ = make(d=32)(torch.randn(2, 5, 32) * 3 + 4, {})
    assert Y.mean(-1).abs().max() < 1e-5 and torch.allclose(Y.var(-1, unbiased=False), torch.ones(2, 5), atol=1e-3)
