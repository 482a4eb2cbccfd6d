import torch
from torch import nn
from torch.nn import functional as F


class TTTLinear(nn.Module):
    """A memory that is a linear model, trained while it reads: one gradient step on each mini-batch of tokens.

    Each head learns f(k) = k + norm(k W + b) to give v. All tokens of a mini-batch take their gradients at the weights
    it starts from, and place t answers f(q_t) with the steps of the places up to t: the dual form, two masked
    products. The step of place j, seen from place i, is `inner_lr` sigmoid(x_j a) / width * (1 / (i + 1) + learnt).
    Shapes: X (B, L, D) -> Y (B, L, D). Complexity: O(B L D (C + D / H) + B L D^2), mini-batch C, H heads.
    Parameters: 4 D^2 + D P + O(D), head width P, the largest even divisor of D up to `head_width`.
    Source: Sun et al. 2024, "Learning to (Learn at Test Time): RNNs with Expressive Hidden States", sec. 2.3-2.5.
    """

    kind = "mixer"
    slots = {
        "position": {"doc": "on queries and keys of a mini-batch, (B*H*N, C, P)", "accepts": ("position",)},
        "norm": {"doc": "on the heads together, before the last map", "accepts": ("norm",)},
    }

    def __init__(self, d: int, ctx, *, head_width: int = 64, mini_batch: int = 16, inner_lr: float = 1.0):
        super().__init__()
        P = max(p for p in range(2, head_width + 1, 2) if d % p == 0)
        H, self.mini_batch, self.inner_lr = d // P, mini_batch, inner_lr
        self.qkv, self.out = nn.Linear(d, 3 * d, bias=False), nn.Linear(d, d, bias=False)
        self.rate = nn.Linear(d, H)
        self.place = nn.Parameter(torch.zeros(mini_batch))
        self.W = ctx.own_init(nn.Parameter(torch.randn(H, P, P) * 0.02))
        self.b = ctx.own_init(nn.Parameter(torch.zeros(H, 1, P)))
        self.scale, self.shift = nn.Parameter(torch.ones(H, 1, P)), nn.Parameter(torch.zeros(H, 1, P))
        self.position, self.norm = ctx.child("position", P), ctx.child("norm")

    def forward(self, X, Z):
        L, C, H = X.shape[1], self.mini_batch, self.W.shape[0]
        padded = F.pad(X, (0, 0, 0, -L % C))
        heads = self.qkv(padded).unflatten(-1, (3, H, -1)).unflatten(1, (-1, C))  # B, N, C, 3, H, P
        q, k, v = heads.permute(3, 1, 0, 4, 2, 5).contiguous()  # each N, B, H, C, P
        q, k = (self.position(t.flatten(0, 2), Z)[0].view_as(t) for t in (q, k))
        rate = self.inner_lr / q.shape[-1] * torch.sigmoid(self.rate(padded))
        rate_NBH1C = rate.unflatten(1, (-1, C)).permute(1, 0, 3, 2)[..., None, :]
        share_C1 = (1 / torch.arange(1, C + 1, device=X.device).to(X.dtype) + self.place).clamp(min=0)[:, None]
        y = self._learn(q, k, v, share_C1 * rate_NBH1C)
        y = y.permute(1, 0, 3, 2, 4).flatten(1, 2).flatten(-2)[:, :L]
        return self.out(self.norm(y, Z)[0]), {}

    def _learn(self, q, k, v, step_NBHCC):
        """Walk over the mini-batches; `step[i, j]` is the rate of token j's gradient as place i sees it."""
        step_NBHCC = step_NBHCC.tril()
        reach_NBHCC = step_NBHCC * (q @ k.transpose(-1, -2)) + step_NBHCC  # the second term moves the bias
        last_NBHC1, goal, answers = step_NBHCC[..., -1, :, None], v - k, []
        W, b = self.W, self.b
        for n in range(q.shape[0]):
            moves = inner_gradient(torch.matmul(k[n], W) + b, goal[n], self.scale, self.shift)
            answers.append(torch.matmul(q[n], W) + b - reach_NBHCC[n] @ moves)
            taken = last_NBHC1[n] * moves
            W, b = W - k[n].transpose(-1, -2) @ taken, b - taken.sum(-2, keepdim=True)
        y = torch.stack(answers)
        return q + F.layer_norm(y, y.shape[-1:], eps=1e-6) * self.scale + self.shift


def inner_gradient(z, goal, scale, shift):
    """The gradient of |norm(z) * scale + shift - goal|^2 / 2 with respect to z, norm over the last axis."""
    centred = z - z.mean(-1, keepdim=True)
    spread = torch.rsqrt(centred.square().mean(-1, keepdim=True) + 1e-6)
    unit = centred * spread
    g = (unit * scale + shift - goal) * scale
    return spread * (g - g.mean(-1, keepdim=True) - unit * (g * unit).mean(-1, keepdim=True))


def test_inner_gradient_is_the_gradient(make):
    z, goal, scale, shift = torch.randn(4, 3, 8, dtype=torch.float64)
    z.requires_grad_()
    loss = 0.5 * (F.layer_norm(z, (8,), eps=1e-6) * scale + shift - goal).square().sum()
    (expected,) = torch.autograd.grad(loss, z)
    assert torch.allclose(inner_gradient(z, goal, scale, shift), expected, atol=1e-9)
