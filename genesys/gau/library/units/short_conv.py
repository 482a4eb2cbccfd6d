import torch
from torch import nn
from torch.nn import functional as F


class ShortConv(nn.Module):
    """Causal convolution of each channel with a few taps of its own.

    Shapes: X (B, L, D) -> Y (B, L, D). Complexity: O(B L D K) with K = `kernel` taps. Parameters: D (K + 1).
    The taps are written as K shifted products, which on a CPU beat a grouped convolution.
    Source: Fu et al. 2022, "Hungry Hungry Hippos", sec. 3 (the shift SSM); Gu & Dao 2023, "Mamba".
    """

    kind = "mixer"

    def __init__(self, d: int, ctx, *, kernel: int = 4):
        super().__init__()
        self.taps = ctx.own_init(nn.Parameter(torch.randn(kernel, d) * 0.5 / kernel**0.5))
        self.bias = nn.Parameter(torch.zeros(d))

    def forward(self, X, Z):
        n_taps, L = self.taps.shape[0], X.shape[1]
        padded = F.pad(X, (0, 0, n_taps - 1, 0))
        Y = self.bias
        for k in range(n_taps):
            Y = torch.addcmul(Y, padded[:, k : k + L], self.taps[k])
        return Y, {}


def test_equals_a_grouped_convolution(make):
    unit, X = make(d=8, kernel=4), torch.randn(2, 9, 8)
    padded = F.pad(X.transpose(1, 2), (3, 0))
    expected = F.conv1d(padded, unit.taps.t()[:, None], unit.bias, groups=8).transpose(1, 2)
    assert torch.allclose(unit(X, {})[0], expected, atol=1e-5)
