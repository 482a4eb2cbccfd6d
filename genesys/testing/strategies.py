"""What every strategy must do. Subclass the case, give the strategy as a fixture, and run pytest."""

from __future__ import annotations

from random import Random

import pytest

from genesys.evolution.promotion import Promotion, PromotionStrategy
from genesys.testing.books import climb, make_population, start_tree


class PromotionStrategyTestCase:
    """Conformance of a promotion strategy; see `SelectionStrategyTestCase`."""

    @pytest.fixture
    def strategy(self) -> PromotionStrategy:
        raise NotImplementedError("override this fixture with your strategy")

    @pytest.mark.parametrize("n", [1, 2, 3, 12, 60])
    def test_promotes_to_open_scales_those_who_wait_there(self, strategy: PromotionStrategy, n: int) -> None:
        for openings in ({"small": 1}, {"middle": 2}, {"small": 3, "middle": 1, "large": 1}):
            for n_verified in (0, n // 2, n):
                population, rng = make_population(n, n_verified=n_verified), Random(2)
                for _ in range(10):
                    choice = strategy.promote(population, openings, rng=rng)
                    assert choice is None or isinstance(choice, Promotion)
                    if choice is not None:
                        assert choice.scale in openings
                        assert choice.design in {view.id for view in population.unverified(choice.scale)}

    @pytest.mark.parametrize("quotas", [(16, 5, 2), (4, 4, 4), (7, 1), (3,)])
    @pytest.mark.parametrize("n_verifiers", [1, 3])
    def test_spends_all_quotas(self, strategy: PromotionStrategy, quotas: tuple[int, ...], n_verifiers: int) -> None:
        tree = start_tree(quotas=quotas, reference="design-0")
        reason = climb(tree, strategy, n_designs=quotas[0] + 3, n_verifiers=n_verifiers, rng=Random(5))
        assert tree.ledger.is_spent() and reason == "every quota is spent"
