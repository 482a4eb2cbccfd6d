import torch
from torch import nn


class DynamicTanh(nn.Module):
    """Squash each channel with a tanh of learnt steepness: a norm that computes no statistics.

    Shapes: X (B, L, D) -> Y (B, L, D). Complexity: O(B L D). Parameters: 2 D + 1.
    Source: Zhu et al. 2025, "Transformers without Normalization".
    """

    kind = "norm"

    def __init__(self, d: int, ctx, *, steepness: float = 1.0):
        super().__init__()
        self.steepness = ctx.own_init(nn.Parameter(torch.tensor(steepness)))
        self.weight, self.bias = nn.Parameter(torch.ones(d)), nn.Parameter(torch.zeros(d))

    def forward(self, X, Z):
        return torch.addcmul(self.bias, torch.tanh(self.steepness * X), self.weight), {}


def test_is_bounded(make):
    Y, _ = make(d=8)(torch.randn(1, 4, 8) * 100, {})
    assert Y.abs().max() <= 1
