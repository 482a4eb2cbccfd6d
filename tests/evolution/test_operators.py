"""Operators on unit trees: complete, new, small enough, and local."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from genesys.checker import check_static
from genesys.errors import InterfaceError
from genesys.evolution.operators import Focus, Proposal, crossover, design_name, mutate, propose, scratch
from genesys.evolution.operators.mutation import EDITS, INERT, MAX_FACTOR, Edit, edit_odds, move_hyperparameter, step
from genesys.evolution.operators.proposal import MAX_DEPTH, MAX_PLACES
from genesys.gau import UnitTree, compose, fits, parse_composed
from genesys.gau.library import SEED_NAMES, library, seed_design

ALPHABET = tuple(library().values())
seeds = st.integers(0, 2**32)


def random_design(seed: int) -> UnitTree:
    """A seed design some random edits away."""
    rng = Random(seed)
    tree = seed_design(rng.choice(SEED_NAMES))
    for _ in range(rng.randrange(4)):
        tree = mutate(tree, ALPHABET, rng).tree
    return tree


def check(proposal: Proposal, *parents: UnitTree) -> None:
    """What holds for every proposal."""
    tree = proposal.tree
    assert tree.open_slots() == () and tree.kind == "block" and proposal.detail
    assert tree.design_id not in {parent.design_id for parent in parents}
    assert parse_composed(compose(tree)) == tree
    known = {unit.source for parent in parents for unit in parent.units()} | {unit.source for unit in ALPHABET}
    assert {unit.source for unit in tree.units()} <= known, "an edit changed a source text"
    places = [path for path, _ in tree.walk()]
    assert len(places) <= max([MAX_PLACES] + [len(list(parent.walk())) for parent in parents])
    for _path, place in tree.walk():
        for name, child in place.children:
            slot = place.unit.slot(name)
            assert slot is not None and fits(slot, child)


@settings(max_examples=60, deadline=None)
@given(design=seeds, seed=seeds)
def test_mutations_are_complete_and_new(design: int, seed: int) -> None:
    parent = random_design(design)
    proposal = mutate(parent, ALPHABET, Random(seed))
    check(proposal, parent)
    assert proposal.operator == "mutation" and mutate(parent, ALPHABET, Random(seed)) == proposal


@settings(max_examples=40, deadline=None)
@given(first=seeds, second=seeds, seed=seeds)
def test_crossovers_hold_units_of_the_parents_only(first: int, second: int, seed: int) -> None:
    a, b = random_design(first), random_design(second)
    try:
        proposal = crossover(a, b, Random(seed))
    except ValueError as error:
        assert "gave no new complete block" in str(error)
        return
    check(proposal, a, b)
    assert set(proposal.tree.units()) <= {*a.units(), *b.units()}


@settings(max_examples=60, deadline=None)
@given(seed=seeds)
def test_designs_from_scratch_are_complete(seed: int) -> None:
    proposal = scratch(ALPHABET, Random(seed))
    check(proposal)
    depth = max(path.count(".") + 2 if path else 1 for path, _ in proposal.tree.walk())
    assert depth <= MAX_DEPTH
    assert scratch(tuple(reversed(ALPHABET)), Random(seed)) == proposal, "the alphabet's order plays a part"


@pytest.mark.parametrize("edit", [edit for edit, _ in EDITS], ids=lambda edit: edit.__name__)
def test_each_edit_works_on_some_design_and_leaves_the_parent_alone(edit: Edit) -> None:
    done = 0
    for number in range(60):
        parent = random_design(number)
        before = parent.to_json()
        try:
            edited, change = edit(parent, ALPHABET, Random(number), Focus())
        except InterfaceError:
            continue
        assert change.detail and parent.to_json() == before and change.edit == edit.__name__
        done += edited != parent
    assert done >= 5, f"only {done} of 60 tries did anything"


@settings(max_examples=100, deadline=None)
@given(design=seeds, seed=seeds)
def test_a_mutation_changes_nothing_outside_of_its_target(design: int, seed: int) -> None:
    parent = random_design(design)
    proposal = mutate(parent, ALPHABET, Random(seed))
    assert proposal.edit in edit_odds(Focus())
    unchanged_outside(parent, proposal)


@settings(max_examples=40, deadline=None)
@given(first=seeds, second=seeds, seed=seeds)
def test_a_crossover_changes_nothing_outside_of_its_target(first: int, second: int, seed: int) -> None:
    a, b = random_design(first), random_design(second)
    try:
        proposal = crossover(a, b, Random(seed))
    except ValueError:
        return
    assert proposal.edit == "graft" and proposal.target
    given = proposal.tree.at(proposal.target)
    donors = [
        donor for base, donor in ((a, b), (b, a)) if is_base(base, proposal)
    ]  # both, where they differ there only
    assert any(given == place for donor in donors for path, place in donor.walk() if path)
    for base in (a, b):
        if is_base(base, proposal):
            unchanged_outside(base, proposal)


def unchanged_outside(parent: UnitTree, proposal: Proposal) -> None:
    """Whatever stands neither at the target nor below it is where it was, byte for byte."""
    left = dict(proposal.tree.walk())
    for path, place in parent.walk():
        if f"{path}.".startswith(f"{proposal.target}.") or not proposal.target:
            continue
        assert left[path].unit.source == place.unit.source and left[path].resolved() == place.resolved()


def is_base(parent: UnitTree, proposal: Proposal) -> bool:
    try:
        return parent.graft(proposal.target, proposal.tree.at(proposal.target)) == proposal.tree
    except InterfaceError:
        return False


@settings(max_examples=60, deadline=None)
@given(design=seeds, seed=seeds)
def test_edits_respect_interfaces(design: int, seed: int) -> None:
    """What an edit gives passes the stage of the checker that looks at interfaces."""
    tree = mutate(random_design(design), ALPHABET, Random(seed)).tree
    assert [finding for finding in check_static(tree) if finding.severity == "error"] == []


def test_a_focus_draws_only_what_it_weighs() -> None:
    parent = seed_design("gpt")
    rng, focus = (
        Random(0),
        Focus(edits={edit.__name__: edit.__name__ == "wrap" for edit, _ in EDITS}, targets={"mixer": 1e9}),
    )
    for _ in range(20):
        proposal = mutate(parent, ALPHABET, rng, focus)
        assert (proposal.edit, proposal.target) == ("wrap", "mixer")
        assert crossover(parent, seed_design("retnet"), rng, focus).target == "mixer"
    assert edit_odds(focus)["wrap"] == 1.0 and sum(edit_odds(Focus()).values()) == pytest.approx(1.0)


@settings(max_examples=40, deadline=None)
@given(design=seeds, seed=seeds)
def test_moving_a_hyperparameter_touches_one_number_of_one_unit(design: int, seed: int) -> None:
    parent = random_design(design)
    try:
        edited, _ = move_hyperparameter(parent, ALPHABET, Random(seed), Focus())
    except InterfaceError:
        return
    pairs = zip(parent.walk(), edited.walk(), strict=True)
    changed = [
        (name, old.resolved()[name], value)
        for (path, old), (other, new) in pairs
        for name, value in new.resolved().items()
        if (path, old.unit) != (other, new.unit) or old.resolved()[name] != value
    ]
    assert len(changed) <= 1
    assert not changed or changed[0][0] not in INERT


@given(value=st.integers(1, 10_000), seed=seeds)
def test_whole_numbers_step_to_near_whole_numbers(value: int, seed: int) -> None:
    moved = step(value, value, Random(seed))
    assert type(moved) is int and 1 <= moved <= value * MAX_FACTOR and moved != value
    assert moved in {value * 2, value // 2, value + 1, value - 1}


@given(value=st.floats(1e-3, 1e4), seed=seeds)
def test_fractions_step_within_a_factor_of_two(value: float, seed: int) -> None:
    moved = step(value, value, Random(seed))
    assert isinstance(moved, float) and 0.49 * value <= moved <= 2.02 * value
    assert not value <= 1 or moved <= 1, "a share stays a share"


def test_switches_flip_and_drift_is_bounded() -> None:
    assert step(True, False, Random(0)) is False
    rng, value = Random(0), 8
    for _ in range(200):
        value = int(step(value, 8, rng))
        assert 2 <= value <= 32


def test_an_alphabet_without_what_a_slot_needs_is_refused() -> None:
    with pytest.raises(ValueError, match="Cannot propose by scratch: 64 tries gave no new complete block"):
        scratch([unit for unit in ALPHABET if unit.kind != "norm"], Random(0))
    with pytest.raises(ValueError, match="Cannot propose by scratch"):
        scratch([], Random(0))


@pytest.mark.parametrize(("operator", "n"), [("mutation", 0), ("crossover", 1), ("scratch", 2), ("merge", 1)])
def test_operators_take_their_number_of_parents(operator: str, n: int) -> None:
    with pytest.raises(ValueError, match=f"Cannot propose by '{operator}' from {n} parents"):
        propose(operator, [seed_design("gpt")] * n, ALPHABET, Random(0))


def test_names_are_short_and_stay_the_same() -> None:
    assert design_name(seed_design("gpt")).startswith("Attention+SwiGLU-")
    for name in SEED_NAMES:
        tree = seed_design(name)
        assert design_name(tree) == design_name(UnitTree.from_json(tree.to_json())) and len(design_name(tree)) < 60
