"""The room at each scale: what is kept for the reference, for seeds in check and for protected niches."""

from __future__ import annotations

import pytest

from genesys.evolution import EvolutionTree
from genesys.evolution.events import DesignProposed, LeaseGranted, VerificationFailed
from genesys.evolution.promotion.room import Room, best_waiting
from genesys.testing import add_design, start_tree, verify


def measured(*, recall: dict[str, bool], quotas: tuple[int, ...] = (9, 2, 1), reference: str = "") -> EvolutionTree:
    """Designs measured at the bottom, each better than the one before."""
    tree = start_tree(quotas=quotas, reference=reference)
    for design in recall:
        add_design(tree, design, is_seed=design == reference)
    for i, (design, recalls) in enumerate(recall.items()):
        verify(tree, design, "small", 0.1 + 0.1 * i, recall=recalls)
    return tree


def reserved(tree: EvolutionTree, **more: bool) -> tuple[str, ...]:
    """The niches that alone may use what is left on the second rung."""
    return Room(tree=tree, **more).only.get("middle", ())


def lease(tree: EvolutionTree, design: str, scale: str) -> int:
    number = tree.last_lease + 1
    tree.apply(LeaseGranted(lease=number, design=design, scale=scale, holder="v"))
    return number


def test_room_is_kept_at_the_bottom_for_seeds_in_check() -> None:
    tree = start_tree(quotas=(3, 1, 1))
    add_design(tree, "a")
    tree.apply(DesignProposed(design="s", name="s", program="p", operator="seed", is_seed=True))
    room = Room(tree=tree)
    assert room.free["small"] == 3 and room.openings == {"small": 2}
    add_design(tree, "b")
    lease(tree, "a", "small"), lease(tree, "b", "small")
    add_design(tree, "c")
    assert Room(tree=tree).openings == {}, "the last place is the seed's"


def test_room_is_kept_for_a_reference_on_its_way_up() -> None:
    tree = start_tree(quotas=(4, 2, 1), reference="ref")
    for design in ("ref", "a", "b"):
        add_design(tree, design, is_seed=design == "ref")
    verify(tree, "a", "small", 0.5)
    verify(tree, "b", "small", 0.6)
    lease(tree, "ref", "small")
    assert Room(tree=tree).free["middle"] == 1 and Room(tree=tree).openings == {}, "the first place is the reference's"


def test_no_room_is_kept_for_a_reference_that_failed_below() -> None:
    tree = start_tree(quotas=(4, 2, 1), reference="ref")
    for design in ("ref", "a", "b"):
        add_design(tree, design, is_seed=design == "ref")
    number = lease(tree, "ref", "small")
    tree.apply(VerificationFailed(lease=number, design="ref", scale="small", cause="diverged"))
    verify(tree, "a", "small", 0.5)
    assert Room(tree=tree).openings["middle"] == 1


def test_no_room_is_kept_for_a_reference_that_is_there() -> None:
    tree = measured(recall={"ref": True, "a": True, "b": True, "c": True}, quotas=(4, 3, 1), reference="ref")
    lease(tree, "ref", "middle")
    assert Room(tree=tree).openings["middle"] == 2


def test_the_last_place_is_for_a_protected_niche_that_nobody_represents() -> None:
    tree = measured(recall={"weak": True, "good": False, "best": False})
    assert reserved(tree) == (), "two places are left"
    verify(tree, "best", "middle", 0.9, recall=False)
    assert reserved(tree) == ("recall",)
    lease(tree, "weak", "middle")
    assert reserved(tree) == (), "one of them runs"


def test_a_niche_is_represented_by_who_was_measured_there_and_not_by_the_reference() -> None:
    tree = measured(recall={"ref": True, "a": True, "b": True}, quotas=(9, 3, 1), reference="ref")
    verify(tree, "ref", "middle", 0.5)
    verify(tree, "b", "middle", 0.5, recall=False)
    assert reserved(tree) == ("recall",), "the reference recalls, and does not count"
    tree = measured(recall={"ref": True, "a": True, "b": True}, quotas=(9, 3, 1), reference="ref")
    verify(tree, "ref", "middle", 0.5)
    verify(tree, "a", "middle", 0.5)
    assert reserved(tree) == ()


def test_no_place_is_reserved_for_a_niche_once_the_rung_below_has_ended_without_it() -> None:
    tree = measured(recall={"a": False, "b": False}, quotas=(2, 1, 1))
    assert reserved(tree, proposals_open=True) == (), "the rung below is spent"
    tree = measured(recall={"a": False, "b": False}, quotas=(3, 1, 1))
    assert reserved(tree, proposals_open=True) == ("recall",), "one may still come"
    assert reserved(tree, proposals_open=False) == ()


def test_a_declined_scale_is_for_a_missing_niche_alone_and_else_settles() -> None:
    tree = measured(recall={"weak": True, "good": False}, quotas=(9, 4, 1))
    declined = Room(tree=tree, proposals_open=False, declined=("middle",))
    assert declined.only["middle"] == ("recall",) and list(declined.settled) == ["small"]
    tree = measured(recall={"weak": False, "good": False}, quotas=(9, 4, 1))
    declined = Room(tree=tree, proposals_open=False, declined=("middle",))
    assert "middle" not in declined.only and list(declined.settled) == ["small", "middle", "large"]


@pytest.mark.parametrize(
    ("niches", "best"), [(("recall",), "c"), (("no-recall",), "b"), (("recall", "no-recall"), "c")]
)
def test_the_best_of_a_niche_that_waits(niches: tuple[str, ...], best: str) -> None:
    tree = measured(recall={"a": True, "b": False, "c": True, "d": True})
    verify(tree, "d", "middle", 0.9)
    assert best_waiting(tree, "middle", niches) == best
    assert best_waiting(tree, "large", ("no-recall",)) is None and best_waiting(tree, "large", ("recall",)) == "d"
