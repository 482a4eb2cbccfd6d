import torch
from torch import nn


class Sinusoidal(nn.Module):
    """Add sines and cosines of the position, in wavelengths from 2 pi to 2 pi `base`, times a learnt size.

    Shapes: X (B, L, D) -> Y (B, L, D), D even. Complexity: O(B L D). Parameters: 1.
    Source: Vaswani et al. 2017, "Attention Is All You Need", sec. 3.5.
    """

    kind = "position"

    def __init__(self, d: int, ctx, *, base: float = 10000.0):
        super().__init__()
        self.d, self.base = d, base
        self.size = nn.Parameter(torch.ones(1))

    def forward(self, X, Z):
        half = self.d // 2
        frequency_H = self.base ** (-torch.arange(half, device=X.device, dtype=torch.float32) / half)
        angle_LH = torch.outer(torch.arange(X.shape[1], device=X.device, dtype=torch.float32), frequency_H)
        return X + self.size * torch.cat([angle_LH.sin(), angle_LH.cos()], dim=-1).to(X.dtype), {}


def test_first_position_adds_zeros_and_ones(make):
    Y, _ = make(d=4)(torch.zeros(1, 2, 4), {})
    assert torch.allclose(Y[0, 0], torch.tensor([0.0, 0.0, 1.0, 1.0]))
