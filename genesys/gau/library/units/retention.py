import math

import torch
from torch import nn
from torch.nn import functional as F


class Retention(nn.Module):
    """Multi-scale retention: linear attention whose memory fades by a fixed rate, another one in each head.

    Head h keeps S_t = g_h S_(t-1) + k_t v_t^T with g_h = 1 - 2^(-5 - h) and reads q_t S_t; the result is normalised,
    gated by SiLU of a linear map of X and mapped back. The sequence is cut into chunks: inside a chunk the memory
    is written out as a masked product, between chunks it is carried.
    Shapes: X (B, L, D) -> Y (B, L, D). Complexity: O(B L D (C + D / H) + B L D^2), chunk C, H heads.
    Parameters: (2 + 3 E) D^2 with E = `expansion`, and those of its children.
    Source: Sun et al. 2023, "Retentive Network: A Successor to Transformer for Large Language Models".
    """

    kind = "mixer"
    slots = {
        "position": {"doc": "applied to queries and keys, (B*H, L, D/H)", "accepts": ("position",)},
        "norm": {"doc": "on the values read, before the gate; width expansion * D", "accepts": ("norm",)},
    }

    def __init__(self, d: int, ctx, *, n_heads: int = 8, expansion: int = 2, chunk: int = 64):
        super().__init__()
        self.n_heads = max(h for h in range(1, n_heads + 1) if d % (4 * h) == 0)
        self.widths, self.chunk = (d, d, expansion * d, expansion * d), chunk
        self.qkvg = nn.Linear(d, sum(self.widths), bias=False)
        self.out = nn.Linear(expansion * d, d, bias=False)
        self.position = ctx.child("position", d // self.n_heads)
        self.norm = ctx.child("norm", expansion * d)

    def forward(self, X, Z):
        L = X.shape[1]
        q, k, v, g = self.qkvg(X).split(self.widths, dim=-1)
        q, k, v = (t.unflatten(-1, (self.n_heads, -1)).transpose(1, 2) for t in (q, k, v))
        q, k = (self.position(t.flatten(0, 1), Z)[0].view_as(t) for t in (q, k))
        wide = torch.promote_types(X.dtype, torch.float32)
        log_g_H = [math.log1p(-(2.0 ** (-5 - h))) for h in range(self.n_heads)]
        y = retain(
            q * q.shape[-1] ** -0.5, k, v, torch.tensor(log_g_H, device=X.device, dtype=wide), min(self.chunk, L)
        )
        y = self.norm(y[:, :, :L].transpose(1, 2).flatten(-2), Z)[0]
        return self.out(y * F.silu(g)), {}


def retain(q_BHLK, k_BHLK, v_BHLV, log_g_H, chunk):
    """Read the fading memory at every place; the answer is padded to whole chunks."""
    pad = -q_BHLK.shape[2] % chunk
    q, k, v = (F.pad(t, (0, 0, 0, pad)).unflatten(2, (-1, chunk)) for t in (q_BHLK, k_BHLK, v_BHLV))
    i_C = torch.arange(chunk, device=q.device)
    log_g_H1 = log_g_H[:, None]
    lag_CC = i_C[:, None] - i_C
    decay_HCC = (torch.exp(log_g_H1[..., None] * lag_CC.clamp(min=0)) * (lag_CC >= 0)).to(q.dtype)
    since_start_HC, until_end_HC = (torch.exp(log_g_H1 * n).to(q.dtype) for n in (i_C + 1, chunk - 1 - i_C))
    inside = (q @ k.transpose(-1, -2) * decay_HCC[:, None]) @ v
    added_BHNKV = (k * until_end_HC[:, None, :, None]).transpose(-1, -2) @ v
    whole_H11 = torch.exp(log_g_H1[..., None] * chunk).to(q.dtype)
    S, before = torch.zeros_like(added_BHNKV[:, :, 0]), []
    for n in range(added_BHNKV.shape[2]):
        before.append(S)
        S = whole_H11 * S + added_BHNKV[:, :, n]
    carried = (q * since_start_HC[:, None, :, None]) @ torch.stack(before, dim=2)
    return (inside + carried).flatten(2, 3)


def test_chunk_size_does_not_matter(make):
    q, k, v = torch.randn(3, 1, 2, 11, 4)
    log_g = torch.tensor([-0.03, -0.3])
    assert torch.allclose(retain(q, k, v, log_g, 4)[:, :, :11], retain(q, k, v, log_g, 11), atol=1e-5)
