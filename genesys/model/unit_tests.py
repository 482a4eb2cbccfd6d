"""Build one unit alone and run the tests that its text carries. Runs the unit's code: call it in a caged child only."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any

import torch
from torch import nn

from genesys.gau import Kind, Unit, UnitTree, parse_unit
from genesys.gau.unit import Slot, freeze
from genesys.model.build import entries, unit_class
from genesys.model.gam import build_unit

_PLACEHOLDER = '''\
from torch import nn


class Placeholder{name}(nn.Module):
    """{doc} Shapes: X (B, L, D) -> Y (B, L, D)."""

    kind = "{kind}"

    def __init__(self, d: int, ctx):
        super().__init__()
        self.map = {map}

    def forward(self, X, Z):
        return self.map(X), {{}}
'''


def placeholder(kind: Kind) -> UnitTree:
    """A unit that stands where a child of this kind will: the identity for norms and positions, else a linear map."""
    identity = kind in ("norm", "position")
    source = _PLACEHOLDER.format(
        name=kind.capitalize(),
        doc="Gives back its input." if identity else "A linear map of each position.",
        kind=kind,
        map="nn.Identity()" if identity else "nn.Linear(d, d, bias=False)",
    )
    return UnitTree(parse_unit(source))


def filled(unit: Unit, children: Mapping[str, UnitTree] | None = None, **hyper: object) -> UnitTree:
    """The tree of one unit with `children` bound and a placeholder in every other slot.

    Raises:
        InterfaceError: A child does not fit its slot, or the unit lacks a hyperparameter.
    """
    given = dict(children or {})
    taken = {name.partition("[")[0] for name in given}
    bound = given | {slot.name: _for_slot(slot) for slot in unit.slots if slot.name not in taken}
    return UnitTree(unit, tuple((name, freeze(value)) for name, value in hyper.items()), tuple(bound.items()))


def make_unit(
    unit: Unit,
    d: int,
    block_index: int = 0,
    n_blocks: int = 2,
    children: Mapping[str, UnitTree] | None = None,
    *,
    seed: int = 0,
    **hyper: Any,
) -> nn.Module:
    """Build one instance of a unit, initialised as in a model, with placeholders in its open slots.

    Args:
        d: Width of X.
        block_index: The block it claims to stand in, of `n_blocks`.
        children: Subtrees for some of its slots.
        hyper: Hyperparameters that differ from their defaults.

    Raises:
        InterfaceError: A child does not fit its slot, or the unit lacks a hyperparameter.
        Exception: Whatever the unit's own code raises.
    """
    tree = filled(unit, children, **hyper)
    classes = {u.id: unit_class(u) for u in tree.units()}
    return build_unit(entries(tree), classes, d, block_index=block_index, n_blocks=n_blocks, seed=seed)


def run_unit_tests(unit: Unit, *, seed: int = 0) -> tuple[str, ...]:
    """Run each `test_*(make)` of a unit's text, in the order of the text, each from the same random state.

    Returns:
        The names that ran; empty when the unit carries none.

    Raises:
        AssertionError: Of the first test that failed.
        Exception: Whatever the unit's own code raises.
    """

    def make(*, d: int, **hyper: Any) -> nn.Module:
        return make_unit(unit, d, seed=seed, **hyper)

    tests = unit_test_functions(unit)
    for test in tests.values():
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            test(make)
    return tuple(tests)


def unit_test_functions(unit: Unit) -> dict[str, Callable[..., None]]:
    """The module-level functions of a unit's text that are named `test_*`."""
    namespace = unit_class(unit).__init__.__globals__
    return {name: f for name, f in namespace.items() if name.startswith("test_") and callable(f)}


@lru_cache(maxsize=64)
def _for_slot(slot: Slot) -> UnitTree:
    kind = slot.accepts[0] if slot.accepts else "mixer"
    return placeholder(kind)
