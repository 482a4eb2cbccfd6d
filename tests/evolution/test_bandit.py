"""The bandit leans to what won lately, keeps everything in play, and forgets nothing in a restart."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from genesys.evolution import EvolutionTree
from genesys.evolution.operators import AdaptiveRates, Focus, adaptive_focus, mutate, with_adaptive_rates
from genesys.evolution.operators.bandit import LEAST_SHARE, WINDOW, Tally, lean_to_winners
from genesys.evolution.operators.mutation import edit_odds
from genesys.evolution.selection import SELECTIONS, OperatorRates, QuadrantSelection, SelectionStrategy
from genesys.gau.library import library, seed_design
from genesys.testing import SelectionStrategyTestCase, make_population
from tests.evolution.families import add, open_family


class TestAdaptiveQuadrant(SelectionStrategyTestCase):
    @pytest.fixture
    def strategy(self) -> SelectionStrategy:
        return with_adaptive_rates(QuadrantSelection())


def lived(n: int, chances: dict[str, float], *, edits: dict[str, float] | None = None, seed: int = 0) -> EvolutionTree:
    """A run in which each operator, and each edit of mutation, improves on the parent with a given chance."""
    tree, rng = open_family(), Random(seed)
    add(tree, "a", 0.5, is_seed=True, operator="seed")
    add(tree, "b", 0.5)
    for i in range(n):
        operator = rng.choice(sorted(chances))
        edit = rng.choice(sorted(edits)) if edits and operator == "mutation" else "graft"
        chance = edits[edit] if edits and edit in edits else chances[operator]
        parents = ("a", "b") if operator == "crossover" else ("a",)
        target = "mixer" if rng.random() < 0.5 else "channel"
        add(tree, f"c{i}", 0.6 if rng.random() < chance else 0.4, *parents, operator=operator, edit=edit, target=target)
    return tree


def test_without_results_the_given_rates_stay() -> None:
    population, rates = make_population(40, n_verified=0), AdaptiveRates()
    assert rates.odds(population) == OperatorRates().odds(population)
    assert adaptive_focus(population) == Focus(edits=edit_odds(Focus()))


def test_the_operator_that_wins_is_drawn_more_often() -> None:
    rates = AdaptiveRates(mutation=0.5, crossover=0.4, scratch=0.1)
    odds = rates.odds(lived(120, {"mutation": 0.1, "crossover": 0.6}).population())
    assert odds["crossover"] > 0.75 and odds["mutation"] > 0.02 and sum(odds.values()) == pytest.approx(1.0)
    assert odds["scratch"] == pytest.approx(0.1), "it has no parents to be judged by"


def test_the_edit_and_the_place_that_win_are_preferred() -> None:
    edits = {"wrap": 0.7, "swap_unit": 0.1, "regrow": 0.1}
    tree = lived(160, {"mutation": 0.0}, edits=edits)
    focus = adaptive_focus(tree.population())
    given_odds, leaning = edit_odds(Focus()), edit_odds(focus)
    assert leaning["wrap"] > 2 * given_odds["wrap"] and leaning["swap_unit"] < given_odds["swap_unit"]
    alphabet, rng = tuple(library().values()), Random(0)
    made = [mutate(seed_design("gpt"), alphabet, rng, focus).edit for _ in range(200)]
    assert made.count("wrap") > 200 * 1.5 * given_odds["wrap"]


def test_old_news_is_forgotten() -> None:
    tree = lived(WINDOW, {"mutation": 0.0, "crossover": 0.9})
    for i in range(WINDOW):
        add(tree, f"late{i}", 0.6 if i % 2 else 0.4, "a", operator="mutation")
        add(tree, f"poor{i}", 0.4, "a", "b", operator="crossover")
    odds = AdaptiveRates().odds(tree.population())
    assert odds["mutation"] > 0.9 > OperatorRates().odds(tree.population())["mutation"]


def test_a_restart_changes_nothing() -> None:
    tree = lived(60, {"mutation": 0.3, "crossover": 0.5})
    again = EvolutionTree.from_snapshot(tree.to_snapshot(), tree.rule)
    assert AdaptiveRates().odds(tree.population()) == AdaptiveRates().odds(again.population())
    assert adaptive_focus(tree.population()) == adaptive_focus(again.population())


def test_what_a_call_looks_at_does_not_grow() -> None:
    few, many = lived(WINDOW + 10, {"mutation": 0.3}), lived(4 * WINDOW, {"mutation": 0.3})
    looked = []
    for tree in (few, many):
        population = tree.population()
        AdaptiveRates().odds(population)
        looked.append(len(population._views))
    assert looked[0] == looked[1] <= WINDOW + 2


@settings(max_examples=60, deadline=None)
@given(
    st.dictionaries(st.sampled_from("abcdef"), st.tuples(st.floats(0, 50), st.floats(0, 50))),
    st.lists(st.floats(0.01, 1), min_size=1, max_size=6),
)
def test_odds_stay_odds_and_nothing_dies_out(records: dict[str, tuple[float, float]], weights: list[float]) -> None:
    given_odds = dict(zip("abcdef", weights, strict=False))
    known = {arm: Tally(*record) for arm, record in records.items()}
    leaning = lean_to_winners(given_odds, known, "seed")
    assert sum(leaning.values()) == pytest.approx(sum(weights)) and leaning.keys() == given_odds.keys()
    assert all(leaning[arm] >= given_odds[arm] * LEAST_SHARE / len(given_odds) - 1e-12 for arm in given_odds)


@pytest.mark.parametrize("name", sorted(SELECTIONS))
def test_every_strategy_can_adapt(name: str) -> None:
    adaptive = with_adaptive_rates(SELECTIONS[name](rates=OperatorRates(restart=0.25)))
    assert type(adaptive) is SELECTIONS[name]
    assert isinstance(adaptive.rates, AdaptiveRates) and adaptive.rates.restart == 0.25
    population = lived(60, {"mutation": 0.1, "crossover": 0.6}).population()
    assert adaptive.select(population, rng=Random(0)).odds == adaptive.rates.odds(population)


def test_a_strategy_without_rates_is_left_alone() -> None:
    class Mine:
        pass

    mine = Mine()
    assert with_adaptive_rates(mine) is mine  # type: ignore[arg-type]
