"""What every promotion strategy must do. Subclass the case, give the strategy as a fixture, and run pytest."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations
from random import Random

import pytest

from genesys.evolution import EvolutionTree
from genesys.evolution.events import DesignProposed, DesignRejected, DesignTwinned, LeaseGranted, VerificationFailed
from genesys.evolution.population import Population
from genesys.evolution.promotion import Decline, Promotion, PromotionStrategy
from genesys.evolution.promotion.base import Explains
from genesys.testing.books import SCALES, add_design, apply, climb, make_population, start_tree, verify

OPENINGS = [dict.fromkeys(chosen, 2) for n in range(1, 4) for chosen in combinations(SCALES, n)]


class PromotionStrategyTestCase:
    """Conformance of a promotion strategy:

    class TestMine(PromotionStrategyTestCase):
        @pytest.fixture
        def strategy(self) -> MyStrategy:
            return MyStrategy()

    It is asked with 0 designs and more, with all alike, with any scales open, among designs that failed or are another's
    twins, and whole runs are climbed with it: with further training seeds, verifications that fail, and caps.
    """

    @pytest.fixture
    def strategy(self) -> PromotionStrategy:
        raise NotImplementedError("override this fixture with your strategy")

    @pytest.mark.parametrize("n", [0, 1, 2, 3, 12, 60])
    @pytest.mark.parametrize("tied", [False, True])
    def test_promotes_to_open_scales_those_who_wait_there(
        self, strategy: PromotionStrategy, n: int, tied: bool
    ) -> None:
        for n_verified in {0, n // 2, n}:
            population, rng = make_population(n, n_verified=n_verified, tied=tied), Random(2)
            for openings in ({}, *OPENINGS):
                for _ in range(5):
                    _check(strategy.promote(population, openings, rng=rng), population, openings)

    def test_passes_over_designs_that_are_out(self, strategy: PromotionStrategy) -> None:
        population = _with_some_out().population()
        for openings in OPENINGS:
            for seed in range(10):
                _check(strategy.promote(population, openings, rng=Random(seed)), population, openings)

    def test_takes_its_chance_from_the_generator_given(self, strategy: PromotionStrategy) -> None:
        population = make_population(30)
        runs = [[strategy.promote(population, o, rng=rng) for o in OPENINGS] for rng in (Random(3), Random(3))]
        assert runs[0] == runs[1]

    @pytest.mark.parametrize("quotas", [(16, 5, 2), (4, 4, 4), (7, 1), (3,), (3, 0)])
    @pytest.mark.parametrize("n_verifiers", [1, 3])
    @pytest.mark.parametrize("has_reference", [True, False])
    def test_spends_all_quotas(
        self, strategy: PromotionStrategy, quotas: tuple[int, ...], n_verifiers: int, has_reference: bool
    ) -> None:
        tree = start_tree(quotas=quotas, reference="design-0" if has_reference else "")
        reason = climb(tree, strategy, n_designs=quotas[0] + 3, n_verifiers=n_verifiers, rng=Random(5))
        assert_spent_or_declined(tree, reason)

    @pytest.mark.parametrize("n_designs", [0, 1, 2, 3])
    def test_a_handful_of_designs_climbs_as_far_as_it_goes(self, strategy: PromotionStrategy, n_designs: int) -> None:
        tree = start_tree(quotas=(8, 4, 2))
        reason = climb(tree, strategy, n_designs=n_designs, rng=Random(1))
        assert tree.ledger.account("small").committed == n_designs
        if "stays unspent" not in reason:
            assert tree.ledger.account("large").committed == min(2, n_designs)

    def test_ends_with_failures_replicates_and_refunds(self, strategy: PromotionStrategy) -> None:
        for seed in range(5):
            tree = start_tree(quotas=(10, 4, 2), reference="design-0", training_seeds=2)
            reason = climb(
                tree, strategy, n_designs=12, n_verifiers=3, rng=Random(seed), p_refund=0.15, p_fail=0.15
            )  # fmt: skip
            assert not tree.leases and reason

    @pytest.mark.parametrize("runs", [1, 2, 5, 9, 13])
    def test_uses_what_a_cap_allows(self, strategy: PromotionStrategy, runs: int) -> None:
        tree = start_tree(quotas=(10, 4, 2), reference="design-0", caps={"runs": runs})
        reason = climb(tree, strategy, n_designs=12, n_verifiers=3, rng=Random(0))
        assert tree.budget.spent.runs <= runs
        assert tree.budget.spent.runs == runs or "stays unspent" in reason

    def test_says_where_a_design_stands(self, strategy: PromotionStrategy) -> None:
        """Only asked of a strategy that has `standing`."""
        if not isinstance(strategy, Explains):
            return
        standing = strategy.standing
        for n_verified in (0, 3, 12):
            population = make_population(12, n_verified=n_verified)
            for scale in population.scales[1:]:
                assert all(standing(population, view, scale) for view in population.unverified(scale))


def assert_spent_or_declined(tree: EvolutionTree, reason: str) -> None:
    """A run ends with its quotas spent, or because its strategy wanted nobody who was left; and says which."""
    assert tree.ledger.is_spent() == (reason == "every quota is spent")
    assert tree.ledger.is_spent() or "stays unspent" in reason, reason


def _check(choice: object, population: Population, openings: Mapping[str, int]) -> None:
    assert choice is None or isinstance(choice, (Promotion, Decline)), choice
    if isinstance(choice, Decline):
        assert choice.reason
    if isinstance(choice, Promotion):
        assert choice.reason and choice.scale in openings
        assert choice.design in {view.id for view in population.unverified(choice.scale)}


def _with_some_out() -> EvolutionTree:
    """Twelve designs on the first rung, three of which climbed on; the best failed above, and others are no candidates."""
    tree = start_tree(quotas=(20, 8, 4), reference="design-0")
    for i in range(12):
        add_design(tree, f"design-{i}", is_seed=i == 0)
        verify(tree, f"design-{i}", "small", i / 12)
    verify(tree, "design-0", "middle", 0.1)
    verify(tree, "design-10", "middle", 0.9)
    apply(tree, LeaseGranted(lease=tree.last_lease + 1, design="design-11", scale="middle", holder="v"))
    apply(tree, VerificationFailed(lease=tree.last_lease, design="design-11", scale="middle", cause="diverged"))
    for name in ("twin", "rejected", "unchecked"):
        apply(tree, DesignProposed(design=name, name=name, program=name, operator="mutation"))
    apply(tree, DesignTwinned(design="twin", inherited_from="design-9"))
    apply(tree, DesignRejected(design="rejected", findings=()))
    return tree
