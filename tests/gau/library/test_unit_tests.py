"""Building one unit alone, and running the tests a unit carries."""

from __future__ import annotations

import re

import pytest
import torch

from genesys.errors import InterfaceError
from genesys.gau import KINDS, parse_unit
from genesys.gau.library import unit_named
from genesys.model.unit_tests import filled, make_unit, placeholder, run_unit_tests

torch.set_num_threads(1)

UNIT = '''\
import torch
from torch import nn


class Doubler(nn.Module):
    """Twice its input. Shapes: X (B, L, D) -> Y (B, L, D)."""

    kind = "channel"

    def __init__(self, d: int, ctx, *, factor: float = 2.0):
        super().__init__()
        self.factor = factor

    def forward(self, X, Z):
        return self.factor * X, {}


def test_doubles(make):
    assert make(d=8)(torch.ones(1, 1, 8), {})[0].sum() == 16


def test_draws_the_same_numbers(make):
    assert torch.equal(torch.randn(3), torch.randn(3, generator=torch.Generator().manual_seed(torch.initial_seed())))


def helper(make):
    raise RuntimeError("not a test")
'''


def test_runs_the_tests_in_order() -> None:
    assert run_unit_tests(parse_unit(UNIT), seed=4) == ("test_doubles", "test_draws_the_same_numbers")


def test_a_failing_test_is_raised() -> None:
    with pytest.raises(AssertionError, match="seventeen"):
        run_unit_tests(parse_unit(UNIT.replace("== 16", '== 17, "seventeen"')))


def test_the_global_random_state_is_left_alone() -> None:
    before = torch.get_rng_state()
    run_unit_tests(parse_unit(UNIT))
    make_unit(unit_named("SSD"), 16)
    assert torch.equal(torch.get_rng_state(), before)


def test_hyperparameters_and_children_are_taken() -> None:
    norm = filled(unit_named("LayerNorm"))
    unit = make_unit(unit_named("PreNormBlock"), 16, children={"norm_mixer": norm})
    assert type(unit.norm_mixer).__name__ == "LayerNorm"
    assert type(unit.norm_channel).__name__ == "PlaceholderNorm"
    with pytest.raises(InterfaceError, match=re.escape("Cannot set hyperparameter 'heads' of unit 'Attention'")):
        make_unit(unit_named("Attention"), 16, heads=2)


def test_indexed_children_leave_the_rest_of_their_slot_alone() -> None:
    experts = {f"expert[{i}]": filled(unit_named("SwiGLU")) for i in range(4)}
    unit = make_unit(unit_named("MixtureOfExperts"), 16, children=experts)
    assert {type(e).__name__ for e in unit.experts} == {"SwiGLU"}


@pytest.mark.parametrize("kind", KINDS)
def test_placeholders_have_their_kind(kind: str) -> None:
    tree = placeholder(kind)  # type: ignore[arg-type]
    assert tree.kind == kind and not tree.open_slots()
    assert make_unit(tree.unit, 8)(torch.ones(1, 2, 8), {})[0].shape == (1, 2, 8)
