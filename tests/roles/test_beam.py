"""The beam: how wide, what is kept, what is not paid twice."""

from __future__ import annotations

from dataclasses import replace
from itertools import count
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from genesys.gau import UnitTree, parse_unit
from genesys.roles.beam import distinct, merit
from genesys.roles.effects import Ask, Check, Gather, Probe
from genesys.roles.grafting import Draft, Written
from genesys.roles.implementing import Implementation, implement
from tests.roles.briefs import FIGURES, brief
from tests.roles.worlds import World, asked_slot, coder, finding, observer, proposal, unit_text


def built(world: World, operator: str = "scratch", target: str = "", **limits: Any) -> Implementation:
    return world.run(implement(brief(operator, **limits), proposal(target), FIGURES))


def fresh_units() -> Any:
    """A coder that never writes the same unit twice: a block with two slots, then leaves."""
    numbers = count()

    def code(ask: Ask) -> Any:
        slot = asked_slot(ask)
        slots = {} if slot else {"mixer": "mixer", "norm": "norm"}
        return coder(unit_text("Unit", slot or "block", slots, note=f"unit {next(numbers)}"))

    return code


def numbers(tree: UnitTree | None) -> list[str]:
    assert tree is not None
    return [place.unit.doc.rstrip(".") for _, place in tree.walk()]


def n_asked(effect: Any, role: str) -> int:
    effects = effect.effects if isinstance(effect, Gather) else (effect,)
    return len([single for single in effects if isinstance(single, Ask) and single.role == role])


def test_greedy_is_a_beam_of_one_nothing_side_by_side_nothing_trained() -> None:
    world = World(fresh_units())
    assert numbers(built(world, beam=1, samples=1).tree) == ["unit 0", "unit 1", "unit 2"]
    assert not [effect for effect in world.yielded if isinstance(effect, Gather)] and not world.singles(Probe)


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 4), st.integers(1, 4))
def test_a_beam_is_never_wider_than_asked(beam: int, samples: int) -> None:
    world = World(fresh_units())
    built(world, beam=beam, samples=samples)
    assert max(n_asked(effect, "planner") for effect in world.yielded) == min(beam, samples**2)
    assert max(n_asked(effect, "coder") for effect in world.yielded) == min(beam, samples**2) * samples
    assert len({(ask.prompt, ask.sample) for ask in world.asks("coder")}) == len(world.asks("coder"))


def test_equal_codes_are_checked_observed_and_kept_once() -> None:
    world = World(lambda ask: coder(unit_text("Same", "mixer")))
    built(world, "mutation", "mixer", beam=3, samples=3)
    assert len(world.asks("coder")) == 3 and len(world.asks("observer")) == 1
    assert [check.depth for check in world.singles(Check)] == ["static", "unit", "full"]
    assert not world.singles(Probe)


def test_the_same_code_handed_in_again_is_turned_down_without_asking_again() -> None:
    world = World(lambda ask: coder(unit_text("Same", "mixer")), observe=lambda ask: observer(1.0))
    assert built(world, "mutation", "mixer", beam=1, samples=1, max_attempts=4, max_failed_units=1).cause == "units"
    assert len(world.asks("coder")) == 4 and len(world.asks("observer")) == 1


def test_the_best_by_training_and_rating_is_kept_and_the_others_go_on_beside_it() -> None:
    def probe(tree: UnitTree) -> float:
        return 0.35 if "unit 1" in numbers(tree) else 0.4

    def observe(ask: Ask) -> Any:  # unit 2 is the better one by more than the training says
        return observer(5.0 if "unit 2" in ask.prompt.messages[1].text.partition("# The code")[2] else 3.5)

    world = World(fresh_units(), probe=probe, observe=observe)
    best = built(world, beam=2, samples=3)
    assert numbers(best.tree)[0] == "unit 2"
    asked_next = [ask for ask in world.asks("planner")[1:3]]
    assert len({ask.prompt for ask in asked_next}) == 1  # the same names; their texts differ
    assert best.scores["observer.rating"] == pytest.approx((5.0 + 3.5 + 3.5) / 3)
    assert best.scores["probe.loss_share"] == 0.4
    assert len({probe.tree for probe in world.singles(Probe)}) == len(world.singles(Probe))


def test_a_draft_that_is_stuck_makes_room_and_only_when_all_are_a_unit_is_given_up() -> None:
    numbers_ = count()

    def code(ask: Ask) -> Any:
        text = ask.prompt.messages[1].text
        if not asked_slot(ask):
            return coder(unit_text("Unit", "block", {"mixer": "mixer"}, note=f"root {next(numbers_)}"))
        return coder("broken" if "root 0" in text or "root 1" in text else unit_text("Leaf", "mixer"))

    alive = built(World(code), beam=3, samples=3, max_attempts=2, max_failed_units=1)
    assert numbers(alive.tree) == ["root 2", "Leaf"]
    numbers_ = count()
    world = World(code)
    stuck = built(world, beam=2, samples=2, max_attempts=2, max_failed_units=1)
    assert (stuck.tree, stuck.cause) == (None, "units")
    numbers_ = count()
    again = built(World(code), beam=2, samples=2, max_attempts=2, max_failed_units=2)
    assert numbers(again.tree) == ["root 2", "Leaf"]


def test_if_the_best_exists_already_the_next_is_claimed() -> None:
    taken: list[UnitTree] = []

    def claim(tree: UnitTree) -> str:
        taken.append(tree)
        return "design-1" if len(taken) == 1 else ""

    done = built(World(fresh_units(), claim=claim), beam=2, samples=2)
    assert done.tree == taken[1] != taken[0]


def test_findings_of_one_sample_are_told_to_the_same_sample() -> None:
    units = fresh_units()
    wrong = {"unit 0", "unit 1"}
    world = World(
        lambda ask: coder(units(ask).code),
        check=lambda check: (
            (finding("Unit"),) if check.tree.unit.doc.rstrip(".") in wrong and check.depth == "static" else ()
        ),
    )
    built(world, beam=1, samples=2)
    told = [ask.prompt.messages[1].text.partition("# The last attempt")[2] for ask in world.asks("coder")[2:4]]
    assert "unit 0" in told[0] and "unit 1" in told[1]


@given(st.floats(0, 2), st.floats(0, 5))
def test_merit_rises_with_what_was_learnt_and_with_the_rating(share: float, rating: float) -> None:
    tree = UnitTree(parse_unit(unit_text("Unit", "block")))
    draft = Draft(tree=None).grown(tree, Written(path="", specification="", observation=observer(rating)))
    assert merit(draft, share) == pytest.approx(1 - share + rating / 5)
    assert merit(draft, None) == pytest.approx(rating / 5)


def test_drafts_of_equal_trees_are_one() -> None:
    draft = Draft(tree=UnitTree(parse_unit(unit_text("Unit", "block"))))
    assert distinct([draft, replace(draft, setbacks=("other",))]) == (draft,)
