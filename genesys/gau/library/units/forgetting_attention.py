import torch
from torch import nn
from torch.nn import functional as F


class ForgettingAttention(nn.Module):
    """Causal softmax attention in which each head forgets: a gate of every token damps all that lies before it.

    The logit of place i for place j is q_i k_j / sqrt(P) + the sum of log f over j + 1 .. i, f a sigmoid of the input.
    Shapes: X (B, L, D) -> Y (B, L, D). Complexity: O(B L^2 D + B L D^2). Parameters: 4 D^2 + (D + 1) H.
    Source: Lin et al. 2025, "Forgetting Transformer: Softmax Attention with a Forget Gate".
    """

    kind = "mixer"
    slots = {"position": {"doc": "applied to queries and keys, (B*H, L, D/H)", "accepts": ("position",)}}

    def __init__(self, d: int, ctx, *, n_heads: int = 8):
        super().__init__()
        self.n_heads = max(h for h in range(1, n_heads + 1) if d % (2 * h) == 0)
        self.qkv, self.out = nn.Linear(d, 3 * d, bias=False), nn.Linear(d, d, bias=False)
        self.forget = nn.Linear(d, self.n_heads, bias=False)
        self.keep = ctx.own_init(nn.Parameter(torch.linspace(1.0, 6.0, self.n_heads)))
        self.position = ctx.child("position", d // self.n_heads)

    def forward(self, X, Z):
        q, k, v = (t.unflatten(-1, (self.n_heads, -1)).transpose(1, 2) for t in self.qkv(X).chunk(3, dim=-1))
        q, k = (self.position(t.flatten(0, 1), Z)[0].view_as(t) for t in (q, k))
        wide = torch.promote_types(X.dtype, torch.float32)
        upto_BHL = F.logsigmoid(self.forget(X).to(wide) + self.keep.to(wide)).cumsum(1).transpose(1, 2)
        lag_BHLL = upto_BHL[..., :, None] - upto_BHL[..., None, :]
        past_LL = torch.ones(lag_BHLL.shape[-2:], dtype=torch.bool, device=X.device).tril()
        bias_BHLL = lag_BHLL.masked_fill(~past_LL, float("-inf")).to(X.dtype)
        Y = F.scaled_dot_product_attention(q, k, v, attn_mask=bias_BHLL)
        return self.out(Y.transpose(1, 2).flatten(-2)), {}


def test_total_forgetting_leaves_the_token_itself(make):
    unit, X = make(d=16, n_heads=2), torch.randn(1, 4, 16)
    unit.keep.data.fill_(-100.0)
    value = unit.qkv(X).chunk(3, dim=-1)[2]
    assert torch.allclose(unit(X, {})[0], unit.out(value), atol=1e-5)
