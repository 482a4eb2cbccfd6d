"""Promotion: conformance, and the rules that hold around every strategy."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from itertools import pairwise
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from genesys.errors import ConfigError
from genesys.evolution.events import DesignProposed, Event, LeaseGranted, RunDraining, RunStarted, VerificationFailed
from genesys.evolution.fitness import RelativeFitness
from genesys.evolution.population import Population
from genesys.evolution.promotion import (
    PROMOTIONS,
    Finished,
    Promotion,
    PromotionStrategy,
    QuadrantPromotion,
    RandomPromotion,
    SuccessiveHalving,
    Verify,
    Wait,
    decide,
    resolve_promotion,
)
from genesys.evolution.promotion.room import Room
from genesys.evolution.tree import EvolutionTree
from genesys.testing import PromotionStrategyTestCase, add_design, climb, start_tree, verify


class TestSuccessiveHalving(PromotionStrategyTestCase):
    @pytest.fixture
    def strategy(self) -> PromotionStrategy:
        return SuccessiveHalving()


class TestQuadrantPromotion(PromotionStrategyTestCase):
    @pytest.fixture
    def strategy(self) -> PromotionStrategy:
        return QuadrantPromotion()


class TestRandomPromotion(PromotionStrategyTestCase):
    @pytest.fixture
    def strategy(self) -> PromotionStrategy:
        return RandomPromotion()


class OnlyWaits:
    def promote(self, population: Population, openings: Mapping[str, int], *, rng: Random) -> Promotion | None:
        return None


STRATEGIES = [factory() for factory in PROMOTIONS.values()] + [OnlyWaits()]


@settings(max_examples=250, deadline=None)
@given(
    shape=st.lists(st.integers(0, 20), min_size=1, max_size=5).map(lambda q: tuple(sorted(q, reverse=True))),
    n_verifiers=st.integers(1, 12),
    surplus=st.integers(-10, 10),
    p_refund=st.sampled_from([0.0, 0.1, 0.5]),
    p_fail=st.sampled_from([0.0, 0.2, 1.0]),
    has_reference=st.booleans(),
    strategy=st.sampled_from(STRATEGIES),
    seed=st.integers(0, 2**32),
)
def test_the_ladder_climbs_by_itself_and_stops(
    shape: tuple[int, ...], n_verifiers: int, surplus: int, p_refund: float, p_fail: float, has_reference: bool,
    strategy: PromotionStrategy, seed: int,
) -> None:  # fmt: skip
    tree = start_tree(quotas=shape, reference="design-0" if has_reference else "")
    n_designs = max(0, shape[0] + surplus)
    climb(
        tree, strategy, n_designs=n_designs, n_verifiers=n_verifiers, rng=Random(seed), p_refund=p_refund,
        p_fail=p_fail * (1 - p_refund),
    )  # fmt: skip
    assert not tree.leases
    accounts = [tree.ledger.account(scale) for scale in tree.scales]
    assert accounts[0].finished == min(n_designs, shape[0])
    for below, account in pairwise(accounts):
        assert account.finished == min(account.quota, below.committed), "a rung is not as full as it could be"


def test_with_enough_designs_every_quota_is_spent_whatever_the_strategy() -> None:
    for strategy in STRATEGIES:
        tree = start_tree(quotas=(40, 16, 6, 2), reference="design-0")
        assert climb(tree, strategy, n_designs=45, n_verifiers=4, rng=Random(1)) == "every quota is spent"


def test_seeds_go_first_and_the_reference_before_them_at_every_scale() -> None:
    events: list[Event] = []
    tree = start_tree(quotas=(16, 5, 2), reference="design-1")
    climb(tree, SuccessiveHalving(), n_designs=20, n_verifiers=2, rng=Random(0), events=events)
    granted = [event for event in events if isinstance(event, LeaseGranted)]
    for scale in tree.scales:
        assert next(event.design for event in granted if event.scale == scale) == "design-1"
    assert {event.design for event in granted[:2]} == {"design-0", "design-1"}


def test_room_is_kept_for_seeds_that_are_still_in_check() -> None:
    tree = start_tree(quotas=(2, 1))
    for name in ("s1", "s2"):
        tree.apply(DesignProposed(design=name, name=name, program=name, operator="seed", is_seed=True))
    add_design(tree, "x")
    assert isinstance(decide(tree, RandomPromotion(), Random(0)), Wait)


@pytest.mark.parametrize("seed", range(10))
def test_a_recall_capable_design_survives_every_rung(seed: int) -> None:
    """Twelve better designs cannot recall; one that can, and is not the reference, still reaches the top."""
    tree, rng = start_tree(quotas=(14, 5, 2), reference="ref"), Random(seed)
    add_design(tree, "ref", is_seed=True)
    quality = {"ref": 0.5} | {f"conv-{i}": 0.8 + 0.01 * i for i in range(12)} | {"recaller": 0.1}
    names = [name for name in quality if name != "ref"]
    rng.shuffle(names)
    for name in names:
        add_design(tree, name)
    while isinstance(decision := decide(tree, SuccessiveHalving(), rng, proposals_open=False), Verify):
        verify(
            tree,
            decision.design,
            decision.scale,
            quality[decision.design],
            recall=not decision.design.startswith("conv"),
        )
    assert isinstance(decision, Finished)
    assert {r.id for r in tree if r.committed("large")} == {"ref", "recaller"}


@pytest.mark.parametrize(
    ("probes", "is_on", "is_protected"),
    [(("recall",), True, True), (("copy",), True, False), (("recall",), False, False)],
)
def test_no_room_is_kept_for_a_niche_that_no_probe_tells(
    probes: tuple[str, ...], is_on: bool, is_protected: bool
) -> None:
    events: list[Event] = []
    start_tree(quotas=(3, 1), events=events)
    (started,) = events
    assert isinstance(started, RunStarted)
    ladder = {"scales": [{"probes": ()}, {"probes": probes}], "verifiers": {"probes": is_on}}
    tree = EvolutionTree(RelativeFitness())
    tree.apply(replace(started, config={**started.config, **ladder}))
    for name in ("a", "b"):
        add_design(tree, name)
        verify(tree, name, "small", 0.5, recall=False)
    assert Room(tree=tree).only == ({"middle": ("recall",)} if is_protected else {})


def test_halving_promotes_the_best_of_a_rung() -> None:
    tree = start_tree(quotas=(8, 2))
    for i in range(8):
        add_design(tree, f"d{i}")
        verify(tree, f"d{i}", "small", i / 10)
    decision = decide(tree, SuccessiveHalving(), Random(0))
    assert isinstance(decision, Verify) and (decision.design, decision.scale) == ("d7", "middle")
    assert "place 1 of 8" in decision.reason


def test_halving_does_not_give_the_last_room_away_while_others_run() -> None:
    tree = start_tree(quotas=(4, 1))
    for name in ("a", "b", "c"):
        add_design(tree, name)
    verify(tree, "a", "small", 0.2)
    tree.apply(LeaseGranted(lease=9, design="b", scale="small", holder="h"))
    decision = decide(tree, SuccessiveHalving(), Random(0))
    assert isinstance(decision, Verify) and (decision.design, decision.scale) == ("c", "small")


def test_quadrant_promotion_mostly_exploits() -> None:
    tree, rng = start_tree(quotas=(40, 20)), Random(0)
    for i in range(20):
        add_design(tree, f"d{i:02}")
        verify(tree, f"d{i:02}", "small", i / 20)
    population = tree.population()
    chosen = [QuadrantPromotion(confident_share=0.0).promote(population, {"middle": 5}, rng=rng) for _ in range(300)]
    good = sum(1 for c in chosen if c is not None and c.design >= "d15")
    assert 0.72 < good / 300 < 0.88


class Skips:
    def promote(self, population: Population, openings: Mapping[str, int], *, rng: Random) -> Promotion | None:
        return Promotion(design=population.unverified("small")[0].id, scale="large", reason="up!")


class Raises:
    def promote(self, population: Population, openings: Mapping[str, int], *, rng: Random) -> Promotion | None:
        raise ZeroDivisionError("by zero")


@pytest.mark.parametrize(("strategy", "reason"), [(Skips(), "it chose scale 'large'"), (Raises(), "by zero")])
def test_a_failing_strategy_is_replaced_and_reported(strategy: PromotionStrategy, reason: str) -> None:
    tree = start_tree(quotas=(3, 2, 1))
    add_design(tree, "a")
    decision = decide(tree, strategy, Random(0))
    assert isinstance(decision, Verify) and (decision.design, decision.scale) == ("a", "small")
    assert decision.failure is not None and reason in decision.failure.reason


def test_a_draining_run_grants_nothing_and_ends_when_its_leases_have() -> None:
    tree = start_tree(quotas=(3,))
    add_design(tree, "a")
    add_design(tree, "b")
    tree.apply(LeaseGranted(lease=1, design="a", scale="small", holder="h"))
    tree.apply(RunDraining(reason="asked to stop"))
    assert decide(tree, RandomPromotion(), Random(0)) == Wait(reason="asked to stop; 1 still run")
    tree.apply(VerificationFailed(lease=1, design="a", scale="small", cause="timeout"))
    assert decide(tree, RandomPromotion(), Random(0)) == Finished(reason="asked to stop")


def test_an_empty_run_waits_for_designers_and_ends_without_them() -> None:
    tree = start_tree()
    assert decide(tree, RandomPromotion(), Random(0)) == Wait(reason="no design waits for a verification")
    ended = decide(tree, RandomPromotion(), Random(0), proposals_open=False)
    assert ended == Finished(reason="no design is left that could spend a quota")


def test_promotions_are_found_by_name() -> None:
    assert resolve_promotion("successive_halving", {"n_examined": 3}) == SuccessiveHalving(n_examined=3)
    with pytest.raises(ConfigError, match="Did you mean 'successive_halving'"):
        resolve_promotion("succesive_halving")
