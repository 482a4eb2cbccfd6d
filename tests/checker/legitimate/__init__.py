"""The legitimate corpus: unusual designs that are sane, none of which may be rejected.

An entry is a mixer in the GPT seed, or a block of its own; `children` fills its slots from the library.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from textwrap import indent

from genesys.gau import Unit, UnitTree, parse_unit
from genesys.gau.library import SEED_NAMES, library, seed_design

UNIT = '''\
import math

import torch
from torch import nn
from torch.nn import functional as F


class Own(nn.Module):
    """Unusual, and sane. Shapes: X (B, L, D) -> Y (B, L, D)."""

    kind = "{kind}"
    slots = {slots}
    reads = ("kept?", "carried?")
    writes = ("kept", "carried", "*")

    def __init__(self, d: int, ctx):
        super().__init__()
{init}

    def forward(self, X, Z):
        B, L, D = X.shape
        dZ = {{}}
{body}
        return Y, dZ
'''


@dataclass(frozen=True, slots=True, kw_only=True)
class Legitimate:
    """A sane design. `children` names the library's units in its slots."""

    body: str
    init: str = "pass"
    block: bool = False
    children: Mapping[str, str] = field(default_factory=dict)

    def design(self) -> UnitTree:
        """The whole design."""
        slots = {slot: {"doc": "a part"} for slot in self.children}
        kind = "block" if self.block else "mixer"
        text = UNIT.format(kind=kind, slots=slots, init=indent(self.init, " " * 8), body=indent(self.body, " " * 8))
        bound = tuple((slot, filled(library()[name])) for slot, name in self.children.items())
        tree = UnitTree(parse_unit(text), (), bound)
        return tree if self.block else seed_design("gpt").graft("mixer", tree)


def filled(unit: Unit) -> UnitTree:
    """A unit of the library with the GPT seed's parts in its slots."""
    gpt = seed_design("gpt")
    parts = {
        "mixer": gpt.at("mixer"),
        "channel": gpt.at("channel"),
        "norm": gpt.at("norm_mixer"),
        "position": gpt.at("mixer.position"),
    }
    return UnitTree(unit, (), tuple((s.name, parts[s.accepts[0] if s.accepts else "mixer"]) for s in unit.slots))


def library_designs() -> Iterator[tuple[str, UnitTree]]:
    """The seeds, and the GPT seed with each unit of the library in the place of its kind."""
    gpt = seed_design("gpt")
    places = {
        "mixer": ("mixer",),
        "channel": ("channel",),
        "norm": ("norm_mixer", "norm_channel"),
        "position": ("mixer.position",),
        "wrapper": ("channel",),
    }
    yield from ((f"seed-{name}", seed_design(name)) for name in SEED_NAMES)
    for name, unit in library().items():
        tree = filled(unit)
        if unit.kind != "block":
            whole = gpt
            for place in places[unit.kind]:
                whole = whole.graft(place, tree)
            tree = whole
        yield name, tree
