import torch
from torch import nn
from torch.nn import functional as F


class HeadNorm(nn.Module):
    """Normalise each head's share of the channels by itself: by its root mean square, or by mean and variance.

    Shapes: X (B, L, D) -> Y (B, L, D), seen as `n_heads` groups of channels. Complexity: O(B L D).
    Parameters: D, and D more for the bias when `center` is set. The number of heads falls to a divisor of D.
    Source: Wu & He 2018, "Group Normalization", as used by Sun et al. 2023 (RetNet) and Peng et al. 2024 (RWKV-6).
    """

    kind = "norm"

    def __init__(self, d: int, ctx, *, n_heads: int = 8, center: bool = False, eps: float = 1e-5):
        super().__init__()
        self.n_heads = max(h for h in range(1, n_heads + 1) if d % (4 * h) == 0 or h == 1)
        self.weight = nn.Parameter(torch.ones(d))
        self.bias = nn.Parameter(torch.zeros(d)) if center else None
        self.eps = eps

    def forward(self, X, Z):
        heads = X.unflatten(-1, (self.n_heads, -1))
        width = (heads.shape[-1],)
        if self.bias is None:
            return F.rms_norm(heads, width, None, self.eps).flatten(-2) * self.weight, {}
        return torch.addcmul(self.bias, F.layer_norm(heads, width, None, None, self.eps).flatten(-2), self.weight), {}


def test_heads_do_not_see_each_other(make):
    norm, X = make(d=16, n_heads=2), torch.randn(1, 3, 16)
    louder = torch.cat([X[..., :8], 5 * X[..., 8:]], dim=-1)
    assert torch.allclose(norm(X, {})[0], norm(louder, {})[0], atol=1e-4)
