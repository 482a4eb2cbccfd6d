"""Unit trees: identity, edits, records."""

from __future__ import annotations

import json
import pickle

import pytest
from hypothesis import given, settings

from genesys.errors import InterfaceError
from genesys.gau import UnitTree, parse_unit
from genesys.gau.library import seed_design, unit_named
from tests.gau.strategies import trees


@given(trees())
@settings(max_examples=60, deadline=None)
def test_record_round_trip_is_the_identity(tree: UnitTree) -> None:
    again = UnitTree.from_json(json.loads(json.dumps(tree.to_json())))
    assert again == tree and again.design_id == tree.design_id


@given(trees(), trees())
@settings(max_examples=40, deadline=None)
def test_equal_ids_mean_equal_trees(a: UnitTree, b: UnitTree) -> None:
    assert (a == b) == (a.design_id == b.design_id)
    assert pickle.loads(pickle.dumps(a)) == a


def test_setting_a_default_is_the_same_design() -> None:
    gpt = seed_design("gpt")
    assert gpt.set("mixer", "n_heads", 8).design_id == gpt.design_id
    assert gpt.set("mixer", "n_heads", 4).design_id != gpt.design_id


def test_line_ends_and_trailing_blanks_do_not_count_but_comments_do() -> None:
    source = unit_named("RMSNorm").source
    assert parse_unit(source.replace("\n", "  \r\n")).id == parse_unit(source).id
    assert parse_unit(source + "# a remark\n").id != parse_unit(source).id


def test_edits_leave_the_original_and_the_other_units_alone() -> None:
    gpt = seed_design("gpt")
    before = gpt.to_json()
    edited = gpt.wrap("mixer", unit_named("Residual")).set("mixer.inner", "n_heads", 2)
    assert gpt.to_json() == before
    assert edited.at("mixer.inner.position") == gpt.at("mixer.position")
    assert edited.at("channel").unit.source == gpt.at("channel").unit.source
    assert edited.unwrap("mixer").set("mixer", "n_heads", 8) == gpt


def test_swap_and_prune_and_graft() -> None:
    gpt = seed_design("gpt")
    assert gpt.swap("norm_mixer", "norm_channel") == gpt
    open_tree = gpt.prune("mixer.position")
    assert open_tree.open_slots() == ("mixer.position",)
    assert open_tree.graft("mixer.position", gpt.at("mixer.position")) == gpt


def test_renaming_is_by_slot() -> None:
    wrapper = parse_unit(unit_named("Residual").source)
    renamed = parse_unit(wrapper.source.replace('"inner"', '"body"'))
    tree = UnitTree(wrapper, (), (("inner", seed_design("gpt").at("channel")),))
    moved = tree.rename_slot("", "inner", "body", renamed)
    assert moved.at("body") == tree.at("inner")


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda t: t.at("mixr"), r"Cannot find path 'mixr'.*Did you mean 'mixer'"),
        (lambda t: t.set("mixer", "heads", 4), r"Cannot set hyperparameter 'heads'.*it has n_heads"),
        (
            lambda t: t.graft("norm_mixer", t.at("channel")),
            r"Cannot put unit 'SwiGLU' \(kind 'channel'\) into slot 'norm_mixer'",
        ),
        (lambda t: t.graft("gate", t.at("channel")), r"Cannot fill slot 'gate' of unit 'PreNormBlock'"),
        (lambda t: t.swap("mixer", "mixer.position"), "one lies inside the other"),
        (lambda t: t.prune(""), "at the root"),
    ],
)
def test_what_does_not_fit_is_refused_with_a_reason(edit, message: str) -> None:
    with pytest.raises(InterfaceError, match=message):
        edit(seed_design("gpt"))
