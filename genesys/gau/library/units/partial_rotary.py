import torch
from torch import nn


class PartialRotary(nn.Module):
    """Rotate only the first channels by the position; the others carry content alone.

    Shapes: X (B, L, D) -> Y (B, L, D), D even. Complexity: O(B L D). No parameters.
    Source: Black et al. 2022, "GPT-NeoX-20B", sec. 2.1 (rotary on the first quarter of each head).
    """

    kind = "position"

    def __init__(self, d: int, ctx, *, fraction: float = 0.5, base: float = 10000.0):
        super().__init__()
        self.half, self.base = max(1, int(fraction * d / 2)), base

    def forward(self, X, Z):
        half = self.half
        frequency_H = self.base ** (-torch.arange(half, device=X.device, dtype=torch.float32) / half)
        angle_LH = torch.outer(torch.arange(X.shape[1], device=X.device, dtype=torch.float32), frequency_H)
        cos_LH, sin_LH = angle_LH.cos().to(X.dtype), angle_LH.sin().to(X.dtype)
        a, b, rest = X[..., :half], X[..., half : 2 * half], X[..., 2 * half :]
        return torch.cat([a * cos_LH - b * sin_LH, b * cos_LH + a * sin_LH, rest], dim=-1), {}


def test_the_rest_is_untouched(make):
    X = torch.randn(1, 5, 8)
    Y, _ = make(d=8, fraction=0.5)(X, {})
    assert torch.equal(Y[..., 4:], X[..., 4:]) and not torch.allclose(Y[:, 1:, :4], X[:, 1:, :4])
