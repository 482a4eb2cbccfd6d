import torch
from torch import nn
from torch.nn import functional as F


class RWKV6ChannelMix(nn.Module):
    """RWKV-6 feed-forward: squared ReLU on a token-shifted input, gated by a sigmoid of another.

    Shapes: X (B, L, D) -> Y (B, L, D). Complexity: O(B L D H). Parameters: 2 D H + D^2 with H = expansion * D,
    and those of the two `lerp` children. A mixer, since its input holds the token before.
    Source: Peng et al. 2024, "Eagle and Finch: RWKV with Matrix-Valued States and Dynamic Recurrence", sec. 4.
    """

    kind = "mixer"
    slots = {"lerp": {"doc": "lerp[0] gives the input of the key, lerp[1] that of the gate", "accepts": ("mixer",)}}

    def __init__(self, d: int, ctx, *, expansion: float = 3.5):
        super().__init__()
        hidden = 8 * -(-int(expansion * d) // 8)
        self.lerps = ctx.children("lerp", 2)
        self.key, self.value = nn.Linear(d, hidden, bias=False), nn.Linear(hidden, d, bias=False)
        self.gate = nn.Linear(d, d, bias=False)

    def forward(self, X, Z):
        for_key, for_gate = (lerp(X, Z)[0] for lerp in self.lerps)
        return torch.sigmoid(self.gate(for_gate)) * self.value(F.relu(self.key(for_key)).square()), {}


def test_doubling_the_key_quadruples(make):
    unit, X = make(d=8), torch.randn(1, 4, 8)
    Y, _ = unit(X, {})
    unit.key.weight.data *= 2
    assert torch.allclose(unit(X, {})[0], 4 * Y, atol=1e-5)
