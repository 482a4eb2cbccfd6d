"""Drafts: what is open, what may be put where, what parents give."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from genesys.errors import InterfaceError
from genesys.evolution.evidence import Evidence
from genesys.gau import UnitTree, parse_unit
from genesys.gau.library import SEED_NAMES, seed_design, unit_named
from genesys.roles.brief import Brief, SessionLimits
from genesys.roles.grafting import first_draft, graft_fitting, most_units, put, unwritten
from tests.roles.worlds import design, unit_text

GPT, MAMBA = seed_design("gpt"), seed_design("mamba2")


def brief(operator: str, *parents: UnitTree, max_units: int = 12) -> Brief:
    return Brief(
        session="s", operator=operator, parents=parents, evidence=Evidence(), bounds={},  # type: ignore[arg-type]
        limits=SessionLimits(max_units=max_units),
    )  # fmt: skip


def places(operator: str, target: str, *parents: UnitTree) -> list[str]:
    return [place.path for place in first_draft(brief(operator, *parents), target).places()]


def test_a_session_opens_what_its_operator_says() -> None:
    assert places("mutation", "mixer.position", GPT) == ["mixer.position"]
    assert places("mutation", "(root)", GPT) == [""]
    assert places("crossover", "", GPT, MAMBA) == [""]
    assert places("crossover", "mixer", GPT, MAMBA) == ["mixer"]
    assert places("scratch", "mixer") == [""]


@pytest.mark.parametrize("target", ["", "nowhere", "mixer.", "../mixer"])
def test_a_mutation_without_a_place_of_the_parent_may_be_anywhere_the_root_last(target: str) -> None:
    assert places("mutation", target, GPT) == [
        "channel", "mixer", "mixer.position", "norm_channel", "norm_mixer", "",
    ]  # fmt: skip


def test_children_that_fit_stay_and_others_go() -> None:
    new = UnitTree(parse_unit(unit_text("New", "mixer", {"position": "position", "norm": "norm"})))
    tree = put(GPT, "mixer", new)
    assert tree.at("mixer.position") == GPT.at("mixer.position")
    assert tree.open_slots() == ("mixer.norm",)
    bare = put(GPT, "mixer", UnitTree(parse_unit(unit_text("Bare", "mixer"))))
    assert [path for path, _ in bare.walk()] == ["", "channel", "mixer", "norm_channel", "norm_mixer"]


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(InterfaceError, match="accepts mixer"):
        put(GPT, "mixer", UnitTree(unit_named("RMSNorm")))
    with pytest.raises(InterfaceError, match="at the root: it accepts block"):
        put(GPT, "", UnitTree(unit_named("RMSNorm")))
    many = UnitTree(parse_unit(unit_text("Many", "mixer", {f"s{i}": "norm" for i in range(9)})))
    with pytest.raises(InterfaceError, match=r"would have 14 units.*expected at most 12"):
        put(GPT, "mixer", many, n_most=12)


def test_a_parent_larger_than_the_bound_may_still_be_mutated() -> None:
    assert most_units(brief("mutation", GPT, max_units=3)) == 6
    assert most_units(brief("mutation", GPT)) == 12
    assert most_units(brief("scratch", max_units=3)) == 3


def block(name: str, **kinds: str) -> UnitTree:
    leaves = {slot: unit_text(f"{name}{slot.title()}", kind) for slot, kind in kinds.items()}
    return design(unit_text(name, "block", dict(kinds)), **leaves)


def grafted(slots: dict[str, str], *givers: UnitTree) -> dict[str, str]:
    tree = graft_fitting(design(unit_text("Glue", "block", slots)), givers)
    return {slot: child.unit.name for slot, child in tree.children}


def test_givers_take_turns_the_last_first_what_mixes_before_norms_each_gift_once() -> None:
    first, second = (block(name, norm="norm", mixer="mixer", channel="channel") for name in ("First", "Second"))
    slots = {"norm": "norm", "mixer": "mixer", "channel": "channel", "mixer_more": "mixer", "norm_more": "norm"}
    assert grafted(slots, first, second) == {
        "mixer": "SecondMixer", "channel": "FirstChannel", "mixer_more": "FirstMixer", "norm": "SecondNorm",
        "norm_more": "FirstNorm",
    }  # fmt: skip
    assert grafted({"mixer": "mixer", "mixer_a": "mixer"}, first) == {"mixer": "FirstMixer"}


def test_a_slot_may_ask_for_its_giver_and_a_name_comes_before_others() -> None:
    first, second = (block(name, left="mixer", right="mixer") for name in ("First", "Second"))
    assert grafted({"right_1": "mixer", "left_1": "mixer"}, first, second) == {
        "right_1": "FirstRight", "left_1": "FirstLeft",
    }  # fmt: skip
    assert grafted({"right": "mixer"}, first, second) == {"right": "SecondRight"}


@settings(max_examples=40)
@given(st.sampled_from(SEED_NAMES), st.sampled_from(SEED_NAMES))
def test_both_parents_give_to_a_glue_of_two_slots(name: str, other: str) -> None:
    parents = (seed_design(name), seed_design(other))
    tree = put(parents[0], "", UnitTree(unit_named("PreNormBlock")), parents)
    given_by = [[subtree for _, subtree in parent.walk()] for parent in parents]
    assert tree.at("mixer") in given_by[1] and tree.at("channel") in given_by[0]


def test_slots_that_accept_anything_are_left_to_the_coder() -> None:
    text = unit_text("Glue", "block", {"any": "mixer"}).replace("'accepts': ('mixer',)", "'accepts': ()")
    assert graft_fitting(UnitTree(parse_unit(text)), (GPT,)).open_slots() == ("any",)


@settings(max_examples=60)
@given(st.sampled_from(SEED_NAMES), st.sampled_from(SEED_NAMES), st.data())
def test_whatever_is_put_somewhere_the_rest_stays_byte_for_byte(name: str, other: str, data: st.DataObject) -> None:
    tree, donor = seed_design(name), seed_design(other)
    path = data.draw(st.sampled_from([path for path, _ in tree.walk()]))
    new = data.draw(st.sampled_from([subtree for _, subtree in donor.walk()]))
    try:
        edited = put(tree, path, UnitTree(new.unit), (donor,))
    except InterfaceError:
        return
    for where, subtree in tree.walk():
        if where and not where.startswith(path):
            assert edited.at(where).unit.source == subtree.unit.source
    for where, subtree in edited.walk():
        kept, given = dict(tree.walk()).get(where), [gift for _, gift in donor.walk()]
        assert where == path or path.startswith(where) or subtree == kept or subtree in given


def test_rolling_back_gives_the_draft_before_and_says_why() -> None:
    start = first_draft(brief("mutation", GPT), "mixer")
    assert unwritten(start, start.places()) == ("", "channel", "mixer.position", "norm_channel", "norm_mixer")
    assert start.rolled_back("too hard").tree == GPT
    assert start.rolled_back("too hard").setbacks == ("too hard",)
    assert start.rolled_back("too hard").targets == ("mixer",)
