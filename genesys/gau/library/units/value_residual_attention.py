import torch
from torch import nn
from torch.nn import functional as F


class ValueResidualAttention(nn.Module):
    """Causal softmax attention that blends its values with those of the first block, by a learnt share a channel.

    The first block writes `v_first` (B, L, D) into Z; later blocks read it where its shape fits.
    Shapes: X (B, L, D) -> Y (B, L, D). Complexity: O(B L^2 D + B L D^2).
    Parameters: 4 D^2, and D more after the first block.
    Source: Zhou et al. 2024, "Value Residual Learning".
    """

    kind = "mixer"
    slots = {"position": {"doc": "applied to queries and keys, (B*H, L, D/H)", "accepts": ("position",)}}
    reads = ("v_first?",)
    writes = ("v_first",)

    def __init__(self, d: int, ctx, *, n_heads: int = 8):
        super().__init__()
        self.n_heads = max(h for h in range(1, n_heads + 1) if d % (2 * h) == 0)
        self.qkv, self.out = nn.Linear(d, 3 * d, bias=False), nn.Linear(d, d, bias=False)
        self.share = ctx.own_init(nn.Parameter(torch.full((d,), 0.5))) if ctx.block_index else None
        self.position = ctx.child("position", d // self.n_heads)

    def forward(self, X, Z):
        q, k, v = self.qkv(X).chunk(3, dim=-1)
        first = Z.get("v_first")
        written = {"v_first": v} if self.share is None else {}
        if self.share is not None and first is not None and first.shape == v.shape:
            v = v + self.share * (first - v)
        q, k, v = (t.unflatten(-1, (self.n_heads, -1)).transpose(1, 2) for t in (q, k, v))
        q, k = (self.position(t.flatten(0, 1), Z)[0].view_as(t) for t in (q, k))
        Y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        return self.out(Y.transpose(1, 2).flatten(-2)), written


def test_first_block_writes_and_second_reads(make):
    first, second, X = make(d=16), make(d=16, block_index=1), torch.randn(1, 4, 16)
    _, written = first(X, {})
    assert set(written) == {"v_first"} and not second(X, {})[1]
    assert not torch.allclose(second(X, {})[0], second(X, {"v_first": 3 * written["v_first"]})[0])
