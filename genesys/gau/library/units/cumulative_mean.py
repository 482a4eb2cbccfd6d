import torch
from torch import nn


class CumulativeMean(nn.Module):
    """The mean of all values up to each place: attention with equal weights.

    Shapes: X (B, L, D) -> Y (B, L, D). Complexity: O(B L D^2). Parameters: 2 D^2.
    Source: Zhang, Xiong & Su 2018, "Accelerating Neural Transformer via an Average Attention Network".
    """

    kind = "mixer"

    def __init__(self, d: int, ctx):
        super().__init__()
        self.value, self.out = nn.Linear(d, d, bias=False), nn.Linear(d, d, bias=False)

    def forward(self, X, Z):
        wide = torch.promote_types(X.dtype, torch.float32)
        count_L1 = torch.arange(1, X.shape[1] + 1, device=X.device)[:, None]
        mean = (self.value(X).to(wide).cumsum(1) / count_L1).to(X.dtype)
        return self.out(mean), {}


def test_last_place_is_the_mean(make):
    unit, X = make(d=8), torch.randn(1, 5, 8)
    assert torch.allclose(unit(X, {})[0][:, -1], unit.out(unit.value(X).mean(1)), atol=1e-5)
