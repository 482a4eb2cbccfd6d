"""Composition: one readable text, and back."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from hypothesis import given, settings

from genesys.gau import UnitTree, compose, parse_composed, parse_unit
from genesys.gau.library import SEED_NAMES, seed_design
from tests.gau.strategies import trees


@given(trees())
@settings(max_examples=150, deadline=None)
def test_parse_after_compose_is_the_identity(tree: UnitTree) -> None:
    text = compose(tree)
    assert parse_composed(text) == tree
    assert compose(parse_composed(text)) == text


@given(trees())
@settings(max_examples=60, deadline=None)
def test_each_unit_keeps_its_own_namespace_and_values(tree: UnitTree) -> None:
    """Law 10 and 11: equal helper names and constants in two units never meet, and no string changes."""
    composed: dict[str, object] = {}
    exec(compose(tree), composed)
    for name in [n for n in composed if n.startswith("unit_")]:
        cls = composed[name]()
        alone: dict[str, object] = {}
        unit = next(u for u in tree.units() if name in (f"unit_{u.name}", f"unit_{u.name}_{u.id[:8]}"))
        exec(unit.source, alone)
        assert cls.__doc__ == alone[unit.name].__doc__
        helper = next(c.cell_contents for c in cls.__init__.__closure__ if callable(c.cell_contents))
        assert helper() == alone["SHARED"]


@pytest.mark.parametrize("seed", SEED_NAMES)
def test_composition_does_not_depend_on_the_hash_seed(seed: str) -> None:
    script = f"from genesys.gau import compose; from genesys.gau.library import seed_design; print(compose(seed_design({seed!r})))"
    runs = [
        subprocess.run(
            [sys.executable, "-c", script], env=os.environ | {"PYTHONHASHSEED": s}, capture_output=True, check=True
        ).stdout
        for s in ("0", "12345")
    ]
    assert runs[0] == runs[1] and runs[0].decode().rstrip("\n") == compose(seed_design(seed)).rstrip("\n")


def test_a_cut_text_is_refused() -> None:
    with pytest.raises(ValueError, match="no `# --- tree` section"):
        parse_composed(compose(seed_design("gpt")).partition("# --- tree")[0])


def test_two_units_of_one_name_are_told_apart() -> None:
    norm = seed_design("gpt").at("norm_mixer").unit
    other = parse_unit(norm.source.replace("1e-6", "1e-5"))
    tree = seed_design("gpt").replace("norm_channel", other)
    assert parse_composed(compose(tree)) == tree
    assert f"unit_RMSNorm_{other.id[:8]}" in compose(tree)
