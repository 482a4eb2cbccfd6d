import torch
from torch import nn


class Rotary(nn.Module):
    """Rotate pairs of channels (i, i + D/2) by an angle that grows with the position along L.

    Serves inside heads: X is one query or key per row, shape (B*H, L, D) with D the head width.
    Shapes: X (B, L, D) -> Y (B, L, D), D even. Complexity: O(B L D). No parameters.
    Source: Su et al. 2021, "RoFormer: Enhanced Transformer with Rotary Position Embedding".
    """

    kind = "position"

    def __init__(self, d: int, ctx, *, base: float = 10000.0):
        super().__init__()
        if d % 2:
            raise ValueError(f"Rotary needs an even width, got {d}")
        self.d, self.base = d, base

    def forward(self, X, Z):
        half = self.d // 2
        frequency_H = self.base ** (-torch.arange(half, device=X.device, dtype=torch.float32) / half)
        angle_LH = torch.outer(torch.arange(X.shape[1], device=X.device, dtype=torch.float32), frequency_H)
        cos_LH, sin_LH = angle_LH.cos().to(X.dtype), angle_LH.sin().to(X.dtype)
        a, b = X[..., :half], X[..., half:]
        return torch.cat([a * cos_LH - b * sin_LH, b * cos_LH + a * sin_LH], dim=-1), {}


def test_depends_on_relative_position_only(make):
    rotary = make(d=8)
    q, k = torch.randn(8), torch.randn(8)
    Q, _ = rotary(q.expand(1, 6, 8), {})
    K, _ = rotary(k.expand(1, 6, 8), {})
    scores = (Q @ K.transpose(1, 2))[0]
    assert torch.allclose(scores[3, 1], scores[5, 3], atol=1e-5)
