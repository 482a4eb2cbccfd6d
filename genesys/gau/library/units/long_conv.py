import math

import torch
from torch import nn


class LongConv(nn.Module):
    """Causal convolution of each channel with a filter as long as the sequence, which a small network draws.

    The filter at lag t is MLP(waves of t) times a decay exp(-rate t) of each channel's own; the product is taken by
    FFT over 2 L places, which leaks about 1e-16 of a value backwards in float64, 1e-8 in float32.
    Shapes: X (B, L, D) -> Y (B, L, D). Complexity: O(B L log(L) D).
    Parameters: (2 F + 1) R + R D + 3 D, F waves, R hidden.
    Source: Poli et al. 2023, "Hyena Hierarchy: Towards Larger Convolutional Language Models", sec. 3.3.
    """

    kind = "mixer"

    def __init__(self, d: int, ctx, *, n_waves: int = 8, hidden: int = 32, slowest: float = 512.0):
        super().__init__()
        self.n_waves, self.slowest = n_waves, slowest
        self.first, self.second = nn.Linear(2 * n_waves, hidden), nn.Linear(hidden, d)
        self.log_rate = ctx.own_init(nn.Parameter(torch.linspace(math.log(0.5), math.log(0.005), d)))
        self.skip = ctx.own_init(nn.Parameter(torch.ones(d)))

    def forward(self, X, Z):
        L = X.shape[1]
        wide = torch.promote_types(X.dtype, torch.float32)
        transformed = torch.fft.rfft(X.to(wide), n=2 * L, dim=1) * torch.fft.rfft(self.taps(L, wide), n=2 * L, dim=0)
        Y = torch.fft.irfft(transformed, n=2 * L, dim=1)[:, :L].to(X.dtype)
        return torch.addcmul(Y, X, self.skip), {}

    def taps(self, L, dtype):
        """The filter (L, D); its value at a lag does not depend on L."""
        lag_L1 = torch.arange(L, device=self.skip.device, dtype=dtype)[:, None]
        wave_F = torch.arange(self.n_waves, device=self.skip.device, dtype=dtype) / max(self.n_waves - 1, 1)
        angle_LF = 2 * math.pi * lag_L1 / self.slowest**wave_F
        waves = torch.cat([angle_LF.sin(), angle_LF.cos()], dim=-1).to(self.skip.dtype)
        drawn = self.second(torch.sin(self.first(waves))).to(dtype)
        return drawn * torch.exp(-self.log_rate.to(dtype).exp() * lag_L1)


def test_equals_the_direct_sum(make):
    unit, X = make(d=4), torch.randn(1, 6, 4)
    taps = unit.taps(6, torch.float32)
    expected = [sum(taps[t - s] * X[0, s] for s in range(t + 1)) + unit.skip * X[0, t] for t in range(6)]
    assert torch.allclose(unit(X, {})[0][0], torch.stack(expected), atol=1e-4)
