import torch
from torch import nn
from torch.nn import functional as F


class ScaleNorm(nn.Module):
    """Bring each vector to one learnt length.

    Shapes: X (B, L, D) -> Y (B, L, D). Complexity: O(B L D). Parameters: 1, which starts at sqrt(D).
    Source: Nguyen & Salazar 2019, "Transformers without Tears".
    """

    kind = "norm"

    def __init__(self, d: int, ctx, *, eps: float = 1e-6):
        super().__init__()
        self.length = ctx.own_init(nn.Parameter(torch.tensor(float(d) ** 0.5)))
        self.eps = eps

    def forward(self, X, Z):
        return self.length * F.normalize(X, dim=-1, eps=self.eps), {}


def test_all_vectors_get_one_length(make):
    Y, _ = make(d=16)(torch.randn(2, 5, 16), {})
    assert torch.allclose(Y.norm(dim=-1), torch.full((2, 5), 4.0), atol=1e-4)
