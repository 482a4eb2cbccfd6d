import math

import torch
from torch import nn
from torch.nn import functional as F


class RWKV7TimeMix(nn.Module):
    """RWKV-7 attention: a memory in each head whose key channels fade apart, and that unlearns before it learns.

    S_t = diag(w_t) S_(t-1) - (a_t * kk_t) (kk_t S_(t-1)) + k_t v_t^T and y_t = r_t S_t, with the decay w_t between
    exp(-e^-0.5) and 1, the in-context learning rate a_t between 0 and 1 a channel, and kk_t of length 1 in a head.
    The first block writes its values as `v_first` (B, L, D) into Z; later blocks blend theirs with it where its shape
    fits, by shares that the input decides.
    Heads of `head_width` channels, or of the nearest divisor of D below. Left out: the norm after the embedding.
    Shapes: X (B, L, D) -> Y (B, L, D). Complexity: O(B L D (C + W) + B L D^2), chunk C, head width W.
    Parameters: 4 D^2 + 22 D sqrt(D), and 16 D.
    Source: Peng et al. 2025, "RWKV-7 Goose with Expressive Dynamic State Evolution", sec. 4 and app. E.
    """

    kind = "mixer"
    reads = ("v_first?",)
    writes = ("v_first",)

    def __init__(self, d: int, ctx, *, head_width: int = 64, chunk: int = 32):
        super().__init__()
        self.width = max(w for w in range(1, head_width + 1) if d % w == 0)
        self.chunk = chunk
        n, left = torch.arange(d), 1 - ctx.block_index / max(ctx.n_blocks, 1)
        place = n / max(d - 1, 1)
        slope, zigzag = place - 0.5, 2 * (n % self.width) / max(self.width - 1, 1) - 1
        powers_61 = left * torch.tensor([0.2, 0.9, 0.7, 0.7, 0.9, 0.2])[:, None]
        self.shares = ctx.own_init(nn.Parameter(1 - (n / d) ** powers_61))  # of r, w, k, v, a, g
        bend = 1 + (ctx.block_index / max(ctx.n_blocks - 1, 1)) ** 0.3
        decay = -5.5 + 6 * place**bend + 2.5 * zigzag * zigzag.abs()
        self.decay = low_rank(d, 2.5, nn.Tanh(), ctx, decay)
        self.rate = low_rank(d, 2.5, nn.Identity(), ctx, -0.19 + 0.3 * zigzag * zigzag.abs() + 0.4 * slope)
        self.blend = low_rank(d, 1.7, nn.Identity(), ctx, 0.73 - 0.4 * slope) if ctx.block_index else None
        self.gate = low_rank(d, 5.0, nn.Sigmoid(), ctx)
        self.receptance, self.key = nn.Linear(d, d, bias=False), nn.Linear(d, d, bias=False)
        self.value, self.out = nn.Linear(d, d, bias=False), nn.Linear(d, d, bias=False)
        self.unlearn = ctx.own_init(nn.Parameter(0.71 - 0.1 * slope))
        self.replace = ctx.own_init(nn.Parameter(torch.full((d,), 1.02)))
        self.bonus = ctx.own_init(nn.Parameter(torch.full((d,), -0.04)))
        self.scale, self.shift = nn.Parameter(torch.ones(d)), nn.Parameter(torch.zeros(d))

    def forward(self, X, Z):
        step = F.pad(X, (0, 0, 1, 0))[:, :-1] - X
        for_r, for_w, for_k, for_v, for_a, for_g = (torch.addcmul(X, step, share) for share in self.shares)
        wide = torch.promote_types(X.dtype, torch.float32)
        log_w = -math.exp(-0.5) * torch.sigmoid(self.decay(for_w).to(wide))
        rate = torch.sigmoid(self.rate(for_a))
        r, k, v = self.receptance(for_r), self.key(for_k), self.value(for_v)
        first, written = Z.get("v_first"), {} if self.blend is not None else {"v_first": v}
        if self.blend is not None and first is not None and first.shape == v.shape:
            v = v + (first.to(v.dtype) - v) * torch.sigmoid(self.blend(for_v))
        old, k = self._heads(k * self.unlearn), k * (1 + (rate - 1) * self.replace)
        old, (r, log_w, k, v, rate) = F.normalize(old, dim=-1), map(self._heads, (r, log_w, k, v, rate))
        y = delta_memory(r, log_w, k, v, old, rate * old, min(self.chunk, X.shape[1]))
        y = F.layer_norm(y, (self.width,), eps=64e-5).transpose(1, 2).flatten(-2)
        bonus = (r * k * self.bonus.view(-1, 1, self.width)).sum(-1, keepdim=True) * v
        y = torch.addcmul(self.shift, y.to(X.dtype), self.scale) + bonus.transpose(1, 2).flatten(-2)
        return self.out(y * self.gate(for_g)), written

    def _heads(self, x_BLD):
        return x_BLD.unflatten(-1, (-1, self.width)).transpose(1, 2)


def low_rank(d, factor, activation, ctx, start=None):
    """Two thin linear maps of rank factor * sqrt(d), the second with a bias where it starts somewhere."""
    rank = 8 * max(1, round(factor * math.sqrt(d) / 8))
    up = nn.Linear(rank, d, bias=start is not None)
    if start is not None:
        up.bias = ctx.own_init(nn.Parameter(start))
    return nn.Sequential(nn.Linear(d, rank, bias=False), activation, up)


def delta_memory(r_BHLK, log_w_BHLK, k_BHLK, v_BHLV, old_BHLK, back_BHLK, chunk):
    """Give r_t S_t at every place, with S_t = diag(w_t) S_(t-1) - back_t (old_t S_(t-1)) + k_t v_t^T.

    Within a chunk decays are divided out, so its sum of -log w has to stay far below 80; what is unlearnt there follows
    from a triangular system; then each chunk is one affine map of the memory.
    """
    L = r_BHLK.shape[2]
    pad, wide = (0, 0, 0, -L % chunk), log_w_BHLK.dtype
    parts = (r_BHLK, log_w_BHLK, k_BHLK, v_BHLV, old_BHLK, back_BHLK)
    r, log_w, k, v, old, back = (F.pad(t.to(wide), pad).unflatten(2, (-1, chunk)) for t in parts)
    upto = log_w.cumsum(3)
    r, old, k, back = r * upto.exp(), old * (upto - log_w).exp(), k * (-upto).exp(), back * (-upto).exp()
    k_T, back_T = k.transpose(-1, -2), back.transpose(-1, -2)
    right = torch.cat([old, (old @ k_T).tril(-1) @ v], dim=-1).to(wide)
    system = (old @ back_T).tril(-1).to(wide)
    by_S, by_0 = torch.linalg.solve_triangular(system, right, upper=False, unitriangular=True).split(
        (k.shape[-1], v.shape[-1]), dim=-1
    )
    fade_K1, keep_KK = upto[..., -1, :, None].exp(), torch.eye(k.shape[-1], dtype=wide, device=k.device)
    carry, add = fade_K1 * (keep_KK - back_T @ by_S), fade_K1 * (k_T @ v - back_T @ by_0)
    S, states = torch.zeros_like(add[:, :, 0]), []
    for n in range(add.shape[2]):
        states.append(S)
        S = carry[:, :, n] @ S + add[:, :, n]
    back_CC = (r @ back_T).tril()
    y = (r - back_CC @ by_S) @ torch.stack(states, dim=2) + (r @ k_T).tril() @ v - back_CC @ by_0
    return y.flatten(2, 3)[:, :, :L]


def test_memory_replaces_what_a_key_held(make):
    """Rate 1, no fading, unit keys: reading a key twice written gives the second value alone."""
    k = F.normalize(torch.randn(1, 1, 1, 8), dim=-1).expand(1, 1, 2, 8)
    v, none = torch.randn(1, 1, 2, 3), torch.zeros(1, 1, 2, 8)
    assert torch.allclose(delta_memory(k, none, k, v, k, k, 2)[:, :, 1], v[:, :, 1], atol=1e-5)
