"""Units that nobody wrote before: the library's, renamed, with a constant and a formula changed. Good or bad ones."""

from __future__ import annotations

import ast
import re
from collections.abc import Sequence
from random import Random
from typing import Literal

from genesys.gau import Unit
from genesys.gau.library import unit_named

Flaw = Literal["", "looks-ahead", "syntax", "shape", "no-unit", "dead-parameter"]
FLAWS: tuple[Flaw, ...] = ("looks-ahead", "syntax", "shape", "no-unit", "dead-parameter")

LEAVES = {
    "norm": ("RMSNorm", "LayerNorm", "CentredRMSNorm", "ScaleNorm", "DynamicTanh"),
    "mixer": ("CumulativeMean", "ALiBiAttention"),
    "channel": ("GeGLU", "SwiGLU", "BilinearMLP", "SquaredReLUMLP", "GELUMLP"),
    "position": ("Rotary", "PartialRotary", "LearnedRotary"),
}
BRANCHING = {
    "block": ("PreNormBlock", "SandwichNormBlock", "ParallelBlock"),
    "mixer": ("GatedConv", "Attention", "GatedAttention", "QKNormAttention"),
}
_FORMS = (
    "({y}) + {c} * torch.sin({y})",
    "({y}) * (1 + {c} * torch.tanh({y}))",
    "torch.tanh({c} * ({y})) / {c}",
)
_SPOILT = {
    "looks-ahead": "({y}) + torch.roll(X, -1, 1)",
    "shape": "({y})[..., 1:]",
    "dead-parameter": "{y}",
}
_TEST = """

def test_keeps_the_shape(make):
    X = torch.randn(1, 3, 8)
    assert make(d=8)(X, {{}})[0].shape == X.shape
"""


def write_unit(accepts: Sequence[str], depth: int, rng: Random, *, flaw: Flaw = "") -> str:
    """The text of a new unit that fits a slot; without a flaw it is one that the checker passes in most places.

    Args:
        accepts: Kinds of which the unit must be one; none for any.
        depth: How far below the root the slot is. Below the root's own slots, units open no further ones.
    """
    if flaw == "no-unit":
        return "import torch\n\n\ndef forward(X):\n    return torch.relu(X)\n"
    source = _vary(unit_named(_model(accepts, depth, rng)), rng, flaw)
    return source.replace("super().__init__()", "super().__init__(", 1) if flaw == "syntax" else source


def leaf_names(accepts: Sequence[str]) -> list[str]:
    """Library units without slots that fit, of the first kind that is accepted."""
    return [name for kind in accepts[:1] or LEAVES for name in LEAVES.get(kind, ())]


def class_name(source: str) -> str:
    """Of a unit that `write_unit` wrote."""
    names: list[str] = re.findall(r"^class (\w+)", source, re.MULTILINE)
    return names[-1]


def _model(accepts: Sequence[str], depth: int, rng: Random) -> str:
    kinds = [kind for kind in accepts if kind in LEAVES or kind in BRANCHING] or ["mixer"]
    kind = "block" if depth == 0 and not accepts else kinds[0]
    branching = BRANCHING.get(kind, ()) if depth < 2 else ()
    if kind not in LEAVES or (branching and rng.random() < 0.3):
        return rng.choice(BRANCHING[kind])
    return rng.choice(LEAVES[kind])


def _vary(unit: Unit, rng: Random, flaw: Flaw) -> str:
    source = _without_tests(unit.source)
    constant = rng.randint(5, 30) / 100
    form = _SPOILT.get(flaw, "") or rng.choice(_FORMS)
    source = _through(source, form, constant)
    if flaw == "dead-parameter":
        source = source.replace(
            "super().__init__()\n", "super().__init__()\n        self.spare = nn.Parameter(torch.ones(d))\n", 1
        )
    note = f"Changed: what it gives goes through {form.format(y='y', c=constant)}.\n    Source:"
    source = source.replace("Source:", note, 1)
    return re.sub(rf"\b{unit.name}\b", f"{unit.name}{rng.randrange(16**6):06x}", source) + _TEST.format()


def _without_tests(source: str) -> str:
    tests = [item for item in ast.parse(source).body if getattr(item, "name", "").startswith("test_")]
    lines = source.splitlines()
    return "\n".join(lines[: tests[0].lineno - 1] if tests else lines).rstrip() + "\n"


def _through(source: str, form: str, constant: float) -> str:
    """The source with each `return Y, dZ` of `forward` giving a function of `Y`."""
    lines = source.splitlines(keepends=True)
    forward = next(f for f in ast.walk(ast.parse(source)) if isinstance(f, ast.FunctionDef) and f.name == "forward")
    for returned in forward.body:
        if isinstance(returned, ast.Return) and isinstance(returned.value, ast.Tuple):
            y = returned.value.elts[0]
            assert y.lineno == y.end_lineno, "the library's units return on one line"
            line, start, end = lines[y.lineno - 1], y.col_offset, y.end_col_offset
            indent = line[: len(line) - len(line.lstrip())]
            changed = f"{line[:start]}{form.format(y='Y_new', c=constant)}{line[end:]}"
            lines[y.lineno - 1] = f"{indent}Y_new = {line[start:end]}\n{changed}"
    return "".join(lines)
