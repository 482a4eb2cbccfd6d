"""What composition costs: a step of the composed GPT against a hand-written one with equal math and equal weights.

Forward and backward pass in turns, eager and compiled; the tax is the median of the turns' ratios less one. Goal: at
most 3%.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks._report import Report
from genesys.gau.library import seed_design
from genesys.model import GAM, ModelShape, build_model

GOAL = 0.03
SHAPE = ModelShape(vocab_size=257, d_model=128, n_blocks=4)
N_HEADS, HIDDEN = 8, 344
BATCH, LENGTH = 8, 128
N_TURNS, N_STEPS = 40, 3


class HandWritten(nn.Module):
    """GPT as one would write it without Genesys: the same operations in the same order, no units and no `Z`."""

    def __init__(self, shape: ModelShape) -> None:
        super().__init__()
        self.embedding = nn.Embedding(shape.vocab_size, shape.d_model)
        self.blocks = nn.ModuleList(Block(shape.d_model) for _ in range(shape.n_blocks))
        self.norm = nn.Parameter(torch.ones(shape.d_model))

    def forward(self, tokens_BL: Tensor) -> Tensor:
        x = self.embedding(tokens_BL)
        for block in self.blocks:
            x = block(x)
        logits: Tensor = F.linear(F.rms_norm(x, self.norm.shape, self.norm, 1e-6), self.embedding.weight)
        return logits


class Block(nn.Module):
    def __init__(self, d: int) -> None:
        super().__init__()
        self.d = d
        self.norm_mixer, self.norm_channel = nn.Parameter(torch.ones(d)), nn.Parameter(torch.ones(d))
        self.qkv, self.out = nn.Linear(d, 3 * d, bias=False), nn.Linear(d, d, bias=False)
        self.gate_up, self.down = nn.Linear(d, 2 * HIDDEN, bias=False), nn.Linear(HIDDEN, d, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attention(F.rms_norm(x, (self.d,), self.norm_mixer, 1e-6))
        gate, up = self.gate_up(F.rms_norm(x, (self.d,), self.norm_channel, 1e-6)).chunk(2, dim=-1)
        x = x + self.down(F.silu(gate) * up)
        return x

    def attention(self, x: Tensor) -> Tensor:
        B, L, D = x.shape
        q, k, v = (t.view(B, L, N_HEADS, -1).transpose(1, 2) for t in self.qkv(x).chunk(3, dim=-1))
        y = F.scaled_dot_product_attention(rotate(q), rotate(k), v, is_causal=True)
        mixed: Tensor = self.out(y.transpose(1, 2).reshape(B, L, D))
        return mixed


def rotate(x: Tensor) -> Tensor:
    """Rotary position on (B, H, L, D/H)."""
    half = x.shape[-1] // 2
    frequency = 10000.0 ** (-torch.arange(half, dtype=torch.float32) / half)
    angle = torch.outer(torch.arange(x.shape[-2], dtype=torch.float32), frequency)
    cos, sin = angle.cos(), angle.sin()
    a, b = x[..., :half], x[..., half:]
    return torch.cat([a * cos - b * sin, b * cos + a * sin], dim=-1)


def pair() -> tuple[GAM, HandWritten]:
    """The two models with equal weights; checked by their outputs."""
    composed, by_hand = build_model(seed_design("gpt"), SHAPE, seed=0), HandWritten(SHAPE)
    weights = {_by_hand_name(name): tensor for name, tensor in composed.state_dict().items()}
    by_hand.load_state_dict(weights)  # strict: a parameter too many or too few ends it here
    tokens = torch.randint(257, (2, LENGTH), generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(composed(tokens), by_hand(tokens), atol=1e-4, rtol=1e-4)
    return composed, by_hand


def _by_hand_name(name: str) -> str:
    """A parameter's name in the hand-written model."""
    name = name.replace(".mixer.", ".").replace(".channel.", ".")
    return name.removesuffix(".weight") if "norm" in name else name


def seconds(model: Callable[[Tensor], Tensor], parameters: list[nn.Parameter], batch: Tensor) -> float:
    """Seconds of `N_STEPS` forward and backward passes."""
    started = time.perf_counter()
    for _ in range(N_STEPS):
        loss = F.cross_entropy(model(batch[:, :-1]).flatten(0, 1), batch[:, 1:].flatten())
        loss.backward()
        for parameter in parameters:
            parameter.grad = None
    return time.perf_counter() - started


def compare(name: str, report: Report, *, compiled: bool) -> None:
    """Measure both models in turns."""
    composed, by_hand = pair()
    calls: list[Callable[[Tensor], Tensor]] = [composed, by_hand]
    if compiled:
        calls = [torch.compile(model) for model in (composed, by_hand)]
    parameters = [list(model.parameters()) for model in (composed, by_hand)]
    batch = torch.randint(257, (BATCH, LENGTH + 1), generator=torch.Generator().manual_seed(1))
    ratios, ours = [], []
    for turn in range(N_TURNS + 2):
        order = (0, 1) if turn % 2 else (1, 0)
        took = {i: seconds(calls[i], parameters[i], batch) for i in order}
        if turn >= 2:  # the first turns warm up
            ratios.append(took[0] / took[1])
            ours.append(took[0] / N_STEPS)
    report.add(f"{name} composed step", 1e3 * statistics.median(ours), "ms")
    report.add(f"{name} tax", statistics.median(ratios) - 1, "share of a step", at_most=GOAL)


def main() -> int:
    torch.set_num_threads(1)
    report = Report("gau_tax")
    compare("eager", report, compiled=False)
    compare("compiled", report, compiled=True)
    return report.exit_code


if __name__ == "__main__":
    sys.exit(main())
