import torch
from torch import nn


class Highway(nn.Module):
    """Let a sigmoid of the input choose, channel by channel, between the input and the child's output.

    Shapes: X (B, L, D) -> Y (B, L, D). Complexity: that of its child. Parameters: D^2 + D of its own.
    Source: Srivastava, Greff & Schmidhuber 2015, "Highway Networks".
    """

    kind = "wrapper"
    slots = {"inner": {"doc": "what competes with X", "accepts": ("mixer", "channel")}}
    writes = ("*",)

    def __init__(self, d: int, ctx):
        super().__init__()
        self.inner, self.gate = ctx.child("inner"), nn.Linear(d, d)

    def forward(self, X, Z):
        Y, dZ = self.inner(X, Z)
        return X + torch.sigmoid(self.gate(X)) * (Y - X), dZ


def test_lies_between_input_and_output(make):
    unit, X = make(d=8), torch.randn(1, 3, 8)
    Y, inner = unit(X, {})[0], unit.inner(X, {})[0]
    assert torch.allclose((Y - X).abs() + (inner - Y).abs(), (inner - X).abs(), atol=1e-5)
