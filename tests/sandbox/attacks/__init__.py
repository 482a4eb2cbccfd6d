"""The attack corpus: what hostile generated code may try, as functions of a goal.

An attack is a function `name(goal)` that gives evidence of its success, or nothing; its docstring says what it tries.
`goal` tells it where the harness has laid out its bait (`bait.Bait`): every target belongs to the harness, every bomb is
bounded, and a system call that could hurt the machine has arguments with which it cannot work. So an attack that is
not contained does no harm.

`unit_text` makes a unit of an attack, which strikes at the place that is named.
"""

from __future__ import annotations

import ast
import json
from collections.abc import Mapping
from importlib import resources
from typing import Any, Literal, get_args

Place = Literal["import", "init", "forward", "backward", "test", "destructor"]
PLACES: tuple[Place, ...] = get_args(Place)
GROUPS = ("reading", "writing", "reaching", "kernel", "hogging", "deceiving")


def _text(group: str) -> str:
    return (resources.files(__package__) / f"{group}.py").read_text(encoding="utf-8")


def attack_names() -> dict[str, str]:
    """Every attack, with the group in whose file it stands."""
    return {
        statement.name: group
        for group in GROUPS
        for statement in ast.parse(_text(group)).body
        if isinstance(statement, ast.FunctionDef) and not statement.name.startswith("_")
    }


_UNIT = '''
import torch
from torch import nn

GOAL = json.loads({goal!r})


def _strike(place):
    if place != {place!r}:
        return
    mark(GOAL)
    try:
        evidence = {attack}(GOAL)
    except OSError as error:
        print("denied:", error)
        return
    if evidence and isinstance(evidence, str):
        raise RuntimeError(f"BREACH {{str(evidence)[:500]}}")


class _Strike(torch.autograd.Function):
    @staticmethod
    def forward(ctx, X):
        return X.clone()

    @staticmethod
    def backward(ctx, gradient):
        _strike("backward")
        return gradient


class Hostile(nn.Module):
    """A gated residual map, X + W X, of shape (B, L, D). O(L D^2). Source: the attack corpus."""

    kind = "block"

    def __init__(self, d: int, ctx) -> None:
        super().__init__()
        self.map = nn.Linear(d, d)
        _strike("init")

    def forward(self, X, Z):
        _strike("forward")
        return _Strike.apply(X + self.map(X)), {{}}

    def __del__(self):
        _strike("destructor")


def test_hostile(make):
    _strike("test")


_strike("import")
'''


def unit_text(name: str, place: Place, goal: Mapping[str, Any]) -> str:
    """The source of a working unit that makes one attack at one place."""
    lines = ["from __future__ import annotations", "import json"]
    for text in (_text("prelude"), _text(attack_names()[name])):
        lines += [line for line in text.splitlines() if not line.startswith(("from __future__", "from tests."))]
    return "\n".join(lines) + _UNIT.format(goal=json.dumps(dict(goal)), place=place, attack=name)
