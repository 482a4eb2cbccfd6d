"""A unit: one code block of a design, known by its source text.

A unit is an `nn.Module` class in a text of its own. It maps `(X, Z) -> (Y, dZ)`, with `X` and `Y` of shape
(B, L, D) and `Z` a dictionary of named side tensors. What it needs from outside is declared in the class body
as literals, so that this module can read it without running anything:

    class Gate(nn.Module):
        \"\"\"What it computes. Shapes, complexity, source.\"\"\"

        kind = "channel"                                    # what it is, see `Kind`
        slots = {"inner": {"doc": "what is gated", "accepts": ("mixer", "channel")}}
        reads = ()                                          # names it takes from Z; "name?" is optional
        writes = ()                                         # names it puts into dZ; "*" passes its children's on

        def __init__(self, d: int, ctx, *, bias: bool = False): ...
        def forward(self, X, Z): ...                        # returns (Y, dZ)

Nothing here imports torch, and nothing here runs a unit's code.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal, get_args

CONTRACT_VERSION = 1

Kind = Literal["block", "mixer", "channel", "norm", "position", "wrapper"]
"""What a unit is: a whole block; a sequence mixer; a position-wise channel mixer; a normalisation; a position
encoding; a wrapper that serves as whatever its `inner` slot holds (residual, gate, identity)."""

KINDS: tuple[Kind, ...] = get_args(Kind)

TiedOver = Literal["", "instances", "blocks"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Slot:
    """A named place for a child unit.

    Attributes:
        doc: What the child is for.
        accepts: Kinds that fit; empty means any.
        tied: "instances" when `ctx.children` hands out one shared child, "blocks" when all blocks of the
            model share it, "" when every instance has weights of its own.
    """

    name: str
    doc: str = ""
    accepts: tuple[Kind, ...] = ()
    tied: TiedOver = ""


@dataclass(frozen=True, slots=True)
class Expression:
    """A default that is not a literal, kept as the author's text (`math.log(2)`)."""

    text: str


Value = None | bool | int | float | str | tuple["Value", ...] | Expression


@dataclass(frozen=True, slots=True, kw_only=True)
class Hyperparameter:
    """A keyword-only argument of a unit's constructor."""

    name: str
    annotation: str
    default: Value


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """Marks a unit in the published convention; see `genesys.gau.published`.

    Attributes:
        borrowed: Definitions that the text takes from other units of its design, run before it.
    """

    borrowed: tuple[str, ...] = ()


@dataclass(frozen=True)
class Unit:
    """One unit, parsed. Equality and hash are those of the normalised source.

    Build it with `genesys.gau.parse_unit`; `source` is the author's text, never rewritten beyond line ends
    and trailing blanks.
    """

    source: str
    name: str = field(compare=False)
    doc: str = field(compare=False)
    kind: Kind = field(compare=False)
    slots: tuple[Slot, ...] = field(compare=False, default=())
    reads: tuple[str, ...] = field(compare=False, default=())
    writes: tuple[str, ...] = field(compare=False, default=())
    hyperparameters: tuple[Hyperparameter, ...] = field(compare=False, default=())
    pointwise: bool = field(compare=False, default=False)
    published: Published | None = field(compare=False, default=None)

    @cached_property
    def id(self) -> str:
        """SHA-256 of the normalised source, 64 hexadecimal digits."""
        return hashlib.sha256(self.source.encode()).hexdigest()

    def slot(self, name: str) -> Slot | None:
        """The slot of that name; an index as in `experts[2]` is ignored."""
        base = name.partition("[")[0]
        return next((slot for slot in self.slots if slot.name == base), None)

    def hyperparameter(self, name: str) -> Hyperparameter | None:
        return next((h for h in self.hyperparameters if h.name == name), None)


def normalise_source(text: str) -> str:
    """Unify line ends, drop trailing blanks and blank lines at the end; comments count."""
    lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    return "\n".join(line.rstrip() for line in lines).strip("\n") + "\n"


def freeze(value: object) -> Value:
    """Turn a literal into a hyperparameter value: lists become tuples.

    Raises:
        TypeError: Neither None, bool, int, finite float, str nor a sequence of them.
    """
    if isinstance(value, float) and not math.isfinite(value):
        raise TypeError(f"a hyperparameter cannot be {value!r}; expected a finite number")
    if value is None or isinstance(value, (bool, int, float, str, Expression)):
        return value
    if isinstance(value, (tuple, list)):
        return tuple(freeze(item) for item in value)
    raise TypeError(f"a hyperparameter cannot be {value!r}; expected None, bool, int, float, str or a list of them")
