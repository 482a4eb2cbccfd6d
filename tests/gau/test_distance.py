"""Distances between designs are metrics, and their steps are what one would count."""

from __future__ import annotations

from itertools import permutations

import pytest
from hypothesis import given, settings

from genesys.gau import UnitTree
from genesys.gau.distance import text_distance, tree_distance
from genesys.gau.library import SEED_NAMES, library, seed_design, unit_named
from genesys.gau.normal_form import normal_form
from tests.gau.strategies import trees

DISTANCES = (tree_distance, text_distance)


@pytest.mark.parametrize("distance", DISTANCES)
@settings(max_examples=40, deadline=None)
@given(a=trees(depth=2), b=trees(depth=2), c=trees(depth=1))
def test_distances_are_metrics_on_normal_forms(distance: object, a: UnitTree, b: UnitTree, c: UnitTree) -> None:
    assert callable(distance)
    for x, y, z in ((a, b, c), (b, c, a), (a, c, b)):
        assert distance(x, y) == distance(y, x) >= 0
        assert distance(x, z) <= distance(x, y) + distance(y, z) + 1e-12
        assert (distance(x, y) == 0) == (normal_form(x) == normal_form(y))
        assert distance(x, x) == 0


@pytest.mark.parametrize("distance", DISTANCES)
def test_distances_are_metrics_on_the_seeds(distance: object) -> None:
    assert callable(distance)
    seeds = [seed_design(name) for name in SEED_NAMES]
    far = {(i, j): distance(seeds[i], seeds[j]) for i, j in permutations(range(5), 2)}
    for i, j, k in permutations(range(5), 3):
        assert 0 < far[i, j] == far[j, i] and far[i, k] <= far[i, j] + far[j, k] + 1e-12


def test_one_edit_is_one_step() -> None:
    gpt = seed_design("gpt")
    assert tree_distance(gpt, gpt.wrap("mixer", unit_named("GatedBranch"))) == 1.0
    assert tree_distance(gpt, gpt.replace("channel", unit_named("GeGLU"))) == 1.0
    assert tree_distance(gpt, gpt.prune("channel")) == pytest.approx(1.0 + 0.5 * share_of_slots(gpt))
    assert 0 < tree_distance(gpt, gpt.set("mixer", "n_heads", 4)) <= 0.5


def test_a_design_in_other_words_is_no_step_away() -> None:
    gpt = seed_design("gpt")
    noted = gpt.replace("mixer", type(gpt.unit)(**fields_of(gpt)))
    assert noted.design_id != gpt.design_id
    assert tree_distance(gpt, noted) == text_distance(gpt, noted) == 0.0


def test_texts_tell_a_close_relative_from_a_stranger() -> None:
    near = text_distance(UnitTree(library()["SwiGLU"]), UnitTree(library()["GeGLU"]))
    far = text_distance(UnitTree(library()["SwiGLU"]), UnitTree(library()["RWKV7TimeMix"]))
    assert 0 < near < 0.5 < far <= 1


def share_of_slots(tree: UnitTree) -> float:
    """One of a place's settings, the filled slots, differs."""
    return 1.0 / (1 + len(tree.resolved()))


def fields_of(tree: UnitTree) -> dict[str, object]:
    """The mixer's unit with a comment in its text."""
    unit = tree.at("mixer").unit
    found = {name: getattr(unit, name) for name in unit.__dataclass_fields__}
    return found | {"source": f"# a note\n{unit.source}"}
