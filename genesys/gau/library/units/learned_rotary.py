import torch
from torch import nn


class LearnedRotary(nn.Module):
    """Rotate pairs of channels by an angle that grows with the position at learnt rates.

    Shapes: X (B, L, D) -> Y (B, L, D), D even. Complexity: O(B L D). Parameters: D / 2, kept as logarithms of rates.
    Source: Su et al. 2021, "RoFormer", with the frequencies trained (its sec. 3.2.2 keeps them fixed).
    """

    kind = "position"

    def __init__(self, d: int, ctx, *, base: float = 100.0):
        super().__init__()
        half = d // 2
        rates = -torch.arange(half) / half * torch.log(torch.tensor(base))
        self.log_rate = ctx.own_init(nn.Parameter(rates))

    def forward(self, X, Z):
        place_L1 = torch.arange(X.shape[1], device=X.device, dtype=torch.float32)[:, None]
        angle_LH = place_L1 * self.log_rate.float().exp()
        cos_LH, sin_LH = angle_LH.cos().to(X.dtype), angle_LH.sin().to(X.dtype)
        a, b = X.chunk(2, dim=-1)
        return torch.cat([a * cos_LH - b * sin_LH, b * cos_LH + a * sin_LH], dim=-1), {}


def test_keeps_lengths(make):
    X = torch.randn(2, 7, 8)
    assert torch.allclose(make(d=8)(X, {})[0].norm(dim=-1), X.norm(dim=-1), atol=1e-5)
