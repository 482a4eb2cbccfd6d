"""Selection: conformance of the built-ins, the quadrants, and strategies that misbehave."""

from __future__ import annotations

import time
from collections import Counter
from pathlib import Path
from random import Random
from typing import Any

import pytest

from genesys.errors import ConfigError
from genesys.evolution.population import Population
from genesys.evolution.selection import (
    Adaptive,
    Greedy,
    Islands,
    MapElites,
    OperatorRates,
    QuadrantSelection,
    RandomSelection,
    RegularizedEvolution,
    Selection,
    SelectionStrategy,
    Tournament,
    UpperConfidenceBound,
    resolve_selection,
    select_safely,
    validate_selection,
)
from genesys.testing import SelectionStrategyTestCase, make_population


class TestRandomSelection(SelectionStrategyTestCase):
    @pytest.fixture
    def strategy(self) -> SelectionStrategy:
        return RandomSelection()


class TestTournament(SelectionStrategyTestCase):
    @pytest.fixture
    def strategy(self) -> SelectionStrategy:
        return Tournament()


class TestRegularizedEvolution(SelectionStrategyTestCase):
    @pytest.fixture
    def strategy(self) -> SelectionStrategy:
        return RegularizedEvolution(population=20, sample=5)


class TestGreedy(SelectionStrategyTestCase):
    @pytest.fixture
    def strategy(self) -> SelectionStrategy:
        return Greedy()


class TestUpperConfidenceBound(SelectionStrategyTestCase):
    @pytest.fixture
    def strategy(self) -> SelectionStrategy:
        return UpperConfidenceBound()


class TestIslands(SelectionStrategyTestCase):
    @pytest.fixture
    def strategy(self) -> SelectionStrategy:
        return Islands()


class TestMapElites(SelectionStrategyTestCase):
    @pytest.fixture
    def strategy(self) -> SelectionStrategy:
        return MapElites()


class TestAdaptive(SelectionStrategyTestCase):
    @pytest.fixture
    def strategy(self) -> SelectionStrategy:
        return Adaptive()


class TestQuadrant(SelectionStrategyTestCase):
    @pytest.fixture
    def strategy(self) -> SelectionStrategy:
        return QuadrantSelection()


PLAIN = OperatorRates(restart=0.0, seed_until=-1)


def test_quadrant_exploits_good_and_confident_parents() -> None:
    population, rng = make_population(80), Random(0)
    strategy = QuadrantSelection(exploit=1.0, rates=PLAIN)
    parents = [p for _ in range(300) for p in strategy.select(population, rng=rng).parents]
    shares = [(population.rating_share(p), population.confidence_share(p)) for p in parents]
    assert all(rating is not None and rating < 0.26 for rating, _ in shares)
    assert all(confident is not None and confident < 0.26 for _, confident in shares)


def test_quadrant_explores_poor_and_confident_parents() -> None:
    population, rng = make_population(80), Random(0)
    strategy = QuadrantSelection(exploit=0.0, rates=PLAIN)
    parents = [p for _ in range(300) for p in strategy.select(population, rng=rng).parents]
    poor = sum((population.rating_share(p) or 0.0) >= 0.25 for p in parents)
    assert poor / len(parents) > 0.97, "only a crossover whose quadrant gave one parent twice may look elsewhere"


def test_tournament_prefers_the_fitter() -> None:
    population, rng = make_population(60), Random(0)
    strategy = Tournament(size=8, rates=PLAIN)
    shares = [
        population.rating_share(p) or 0.0 for _ in range(200) for p in strategy.select(population, rng=rng).parents
    ]
    assert sum(shares) / len(shares) < 0.2


def test_tied_contestants_win_tournaments_alike() -> None:
    population, rng = make_population(40, tied=True), Random(0)
    strategy = Tournament(size=4, rates=PLAIN)
    drawn = [p for _ in range(400) for p in strategy.select(population, rng=rng).parents]
    most = max(drawn.count(design) for design in set(drawn))
    assert most <= 3 * len(drawn) / 40, f"one of 40 equal designs won {most} of {len(drawn)}"


def test_ageing_draws_from_the_youngest_only() -> None:
    population, rng = make_population(60), Random(0)
    strategy = RegularizedEvolution(
        population=5, sample=3, rates=OperatorRates(mutation=1.0, crossover=0.0, scratch=0.0, restart=0.0)
    )
    orders = {population.get(p).order for _ in range(100) for p in strategy.select(population, rng=rng).parents}
    assert orders <= set(range(55, 60))


def test_operators_follow_their_shares_in_a_grown_population() -> None:
    population, rng = make_population(40), Random(0)
    drawn = Counter(RandomSelection().select(population, rng=rng).operator for _ in range(4000))
    assert abs(drawn["mutation"] / 4000 - 0.75) < 0.03
    assert abs(drawn["crossover"] / 4000 - 0.20) < 0.03
    assert abs(drawn["scratch"] / 4000 - 0.05) < 0.02


@pytest.mark.parametrize(("n", "allowed"), [(9, {"mutation"}), (19, {"mutation", "crossover"})])
def test_young_populations_keep_to_the_warm_up_rules(n: int, allowed: set[str]) -> None:
    population, rng = make_population(n), Random(0)
    assert {RandomSelection().select(population, rng=rng).operator for _ in range(400)} == allowed


def test_while_few_are_verified_one_parent_is_a_seed() -> None:
    population, rng = make_population(40, n_seeds=2, n_verified=10), Random(0)
    seeds = {view.id for view in population.seeds}
    for _ in range(200):
        selection = RandomSelection().select(population, rng=rng)
        assert selection.operator == "scratch" or seeds & set(selection.parents)


def test_without_designs_there_is_only_scratch() -> None:
    selection = QuadrantSelection().select(make_population(0, n_seeds=0), rng=Random(0))
    assert selection == Selection(operator="scratch", parents=(), reason="from scratch", odds={"scratch": 1.0})


@pytest.mark.parametrize(
    ("n", "odds"),
    [
        (5, {"mutation": 1.0}),
        (12, {"mutation": 0.75 / 0.95, "crossover": 0.20 / 0.95}),
        (40, {"mutation": 0.75, "crossover": 0.20, "scratch": 0.05}),
    ],
)
def test_a_selection_carries_the_odds_of_its_operator(n: int, odds: dict[str, float]) -> None:
    selection = RandomSelection().select(make_population(n), rng=Random(0))
    assert selection.odds == pytest.approx(odds) and selection.operator in odds


class _Fails:
    def select(self, population: Population, *, rng: Random) -> Selection:
        raise KeyError("oops")


class _Sleeps:
    def select(self, population: Population, *, rng: Random) -> Selection:
        time.sleep(0.5)
        return Selection(operator="scratch", parents=())


class _Lies:
    def select(self, population: Population, *, rng: Random) -> Selection:
        return Selection(operator="mutation", parents=("nobody",))


class _Good:
    def select(self, population: Population, *, rng: Random) -> Selection:
        return Selection(operator="mutation", parents=(population.rated[0].id,), reason="the best")


@pytest.mark.parametrize(
    ("strategy", "reason"),
    [(_Fails(), "KeyError: 'oops'"), (_Sleeps(), "no answer within 0.05 s"), (_Lies(), "no design of that id")],
)
def test_a_failing_strategy_is_replaced_and_reported(strategy: Any, reason: str) -> None:
    population = make_population(12)
    selection, failure = select_safely(strategy, population, Random(0), timeout_s=0.05)
    validate_selection(selection, population)
    assert failure is not None and reason in failure.reason and failure.strategy == type(strategy).__name__


def test_a_strategy_of_ones_own_is_asked() -> None:
    population = make_population(12)
    selection, failure = select_safely(_Good(), population, Random(0))
    assert failure is None and selection.reason == "the best" and selection.parents == (population.top(1)[0].id,)


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (None, "it is a NoneType; expected a Selection"),
        (Selection(operator="merge", parents=()), "Cannot use operator 'merge'"),  # type: ignore[arg-type]
        (Selection(operator="mutation", parents=()), "Cannot use 0 parents for mutation"),
        (Selection(operator="crossover", parents=("design-1", "design-1")), "expected 2 different ones"),
        (Selection(operator="mutation", parents=["design-1"]), "expected a tuple of design ids"),  # type: ignore[arg-type]
        (Selection(operator="mutation", parents=("design-99",)), "no design of that id that is implemented"),
    ],
)
def test_nonsense_is_named(answer: object, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        validate_selection(answer, make_population(12))


class Ruleless:
    def __init__(self, needed: int) -> None:
        raise KeyError("oops")


def anything(**options: Any) -> RandomSelection:
    return RandomSelection(rates=OperatorRates(restart=options["share"]))


def test_options_are_held_against_what_a_strategy_takes() -> None:
    assert resolve_selection("ucb", {"c": "1e-1"}) == resolve_selection("ucb", {"c": 0.1}), "YAML reads 1e-1 as a text"
    assert resolve_selection("ucb", {"c": 1}) is not None
    assert resolve_selection(f"{__name__}:anything", {"share": 0.5}) == RandomSelection(
        rates=OperatorRates(restart=0.5)
    )


def test_a_module_that_breaks_is_not_sought_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "half_written.py").write_text("def (")
    (tmp_path / "needs_more.py").write_text("import no_such_module")
    for name, said in (("half_written", "SyntaxError"), ("needs_more", "No module named 'no_such_module'")):
        with pytest.raises(ConfigError, match=said) as caught:
            resolve_selection(f"{name}:Mine")
        assert "PYTHONPATH" not in str(caught.value)


def test_strategies_are_found_by_name_by_path_and_as_objects() -> None:
    assert resolve_selection("tournament", {"size": 7}) == Tournament(size=7)
    assert resolve_selection("genesys.evolution.selection.random:RandomSelection") == RandomSelection()
    assert resolve_selection("random", {"rates": {"restart": 0.5}}) == RandomSelection(rates=OperatorRates(restart=0.5))
    mine = _Good()
    assert resolve_selection(mine) is mine


@pytest.mark.parametrize(
    ("strategy", "options", "message"),
    [
        ("quadrnt", {}, "Did you mean 'quadrant'"),
        ("tournament", {"sise": 3}, r"option 'sise' of .* 'tournament'; expected size, rates. Did you mean 'size'\?$"),
        ("tournament", {"size": 0}, r"Cannot hold tournaments of size 0; expected size >= 1\.$"),
        ("tournament", {"size": "big"}, "option size = 'big' of .*: expected a whole number"),
        ("ucb", {"c": "big"}, "option c = 'big' of selection strategy 'ucb': expected a number"),
        ("ucb", {"c": True}, "expected a number"),
        ("map_elites", {"descriptors": ["x"]}, "expected metrics with their edges"),
        ("map_elites", {"descriptors": {"x": ["a"]}}, "expected a list of numbers"),
        ("map_elites", {"descriptors": {"x": 3}}, "expected a list of numbers"),
        ("random", {"rates": 5}, "Cannot use rates = 5 .*expected a mapping"),
        ("random", {"rates": {"mutation": "a"}}, "with mutation 'a'; expected a number"),
        ("random", {"rates": {"mutation": True}}, "with mutation True"),
        ("random", {"rates": {"crossover_from": -5}}, "crossover_from -5; expected a whole number from 0"),
        ("random", {"rates": {"mutation": 0.5}}, "mutation 0.5, .*: they sum to 0.75; expected 1. Give all three"),
        ("no_such_module:X", {}, "No module named .* on PYTHONPATH, or in the folder you are in"),
        ("no_such_module:", {}, "it names no class; expected `module:Class`"),
        ("genesys.evolution.selection.random:Missing", {}, r"no class 'Missing'; it has RandomSelection\.$"),
        (f"{__name__}:Ruleless", {"rates": {}}, "Cannot set operators for .*: it takes no `rates`. Give it a field"),
        (f"{__name__}:Ruleless", {}, "Cannot do without option 'needed' of"),
        (f"{__name__}:Ruleless", {"needed": 1}, r"with options {'needed': 1}: KeyError: 'oops'\.$"),
        (object(), {}, "it has no method `select`"),
        (_Good, {}, "it has no method `select`"),
        (_Good(), {"a": 1}, "made already"),
        ("random", {"rates": {"restrt": 1}}, "Did you mean 'restart'"),
        ("random", {"rates": {"mutation": 0.9}}, "sum to 1"),
    ],
)
def test_a_wrong_strategy_is_refused(strategy: Any, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        resolve_selection(strategy, options)


def test_a_population_is_valid_for_one_call() -> None:
    from genesys.testing import add_design, start_tree

    tree = start_tree()
    population = tree.population()
    add_design(tree, "late")
    with pytest.raises(RuntimeError, match="the evolution has moved on"):
        _ = population.rated
