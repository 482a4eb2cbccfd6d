"""The cheat corpus: designs that break law 12 and its kin, each with the rule that must reject it.

A cheat is a causal mixer in the GPT seed with one thing wrong. The tables hold only what is wrong.
"""

from __future__ import annotations

from dataclasses import dataclass
from textwrap import indent

from genesys.gau import UnitTree, parse_unit
from genesys.gau.library import seed_design

MIXER = '''\
import functools
import math

import torch
from torch import nn
from torch.nn import functional as F
{top}


class Mixer(nn.Module):
    """The mean of what came before, but for one thing. Shapes: X (B, L, D) -> Y (B, L, D)."""

    kind = "{kind}"
    reads = ("seen?",)
    writes = ("seen",)
{members}

    def __init__(self, d: int, ctx):
        super().__init__()
        self.index, self.n_blocks, self.d = ctx.block_index, ctx.n_blocks, d
        self.out = nn.Linear(d, d, bias=False)
{init}

    def forward(self, X, Z):
        B, L, D = X.shape
        ahead = X.roll(-1, 1)  # the next input: what a cheat wants
        past = torch.cumsum(self.out(X), dim=1) / torch.arange(1, L + 1, device=X.device, dtype=X.dtype)[:, None]
        dZ = {{}}
{body}
        return past, dZ
'''


@dataclass(frozen=True, slots=True, kw_only=True)
class Cheat:
    """What is wrong, and which rule must say so.

    Attributes:
        body: Statements of `forward`, between the causal mean `past` and its return.
        alone: Whether the unit is the whole block, with neither norm nor residual around it.
    """

    rule: str
    body: str = ""
    init: str = ""
    top: str = ""
    members: str = ""
    alone: bool = False

    def source(self) -> str:
        """The text of the unit."""
        kind = "block" if self.alone else "mixer"
        return MIXER.format(
            body=indent(self.body or "pass", " " * 8),
            init=indent(self.init or "pass", " " * 8),
            members=indent(self.members, " " * 4),
            top=self.top,
            kind=kind,
        )

    def design(self) -> UnitTree:
        """The whole design."""
        tree = UnitTree(parse_unit(self.source()))
        return tree if self.alone else seed_design("gpt").graft("mixer", tree)
