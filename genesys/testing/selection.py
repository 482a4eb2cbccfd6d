"""What every selection strategy must do."""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from copy import deepcopy
from functools import partial
from random import Random
from types import FrameType
from typing import Any

import pytest

from genesys.evolution import EvolutionTree, Population
from genesys.evolution.selection import Selection, SelectionStrategy, validate_selection
from genesys.testing.books import add_design, make_population, start_tree, verify
from genesys.testing.histories import live


class SelectionStrategyTestCase:
    """Conformance of a selection strategy:

    class TestMine(SelectionStrategyTestCase):
        @pytest.fixture
        def strategy(self) -> MyStrategy:
            return MyStrategy()

    It does not say whether a strategy finds good designs: `benchmarks/table` replays strategies for that.
    """

    @pytest.fixture
    def strategy(self) -> SelectionStrategy:
        raise NotImplementedError("override this fixture with your strategy")

    @pytest.mark.parametrize("n", [0, 1, 2, 3, 12, 60])
    @pytest.mark.parametrize("tied", [False, True])
    @pytest.mark.parametrize("n_seeds", [0, 2])
    def test_gives_valid_selections_for_any_size(
        self, strategy: SelectionStrategy, n: int, tied: bool, n_seeds: int
    ) -> None:
        for n_verified in {0, n // 2, n}:
            population = make_population(n, n_seeds=n_seeds, tied=tied, n_verified=n_verified)
            rng = Random(1)
            for _ in range(40):
                validate_selection(strategy.select(population, rng=rng), population)

    def test_takes_its_chance_from_the_generator_given(self, strategy: SelectionStrategy) -> None:
        population = make_population(30)
        runs = [[strategy.select(population, rng=rng) for _ in range(20)] for rng in (Random(3), Random(3))]
        assert runs[0] == runs[1], "the same generator gave different choices: there is another source of chance"

    def test_builds_on_many_designs_when_all_are_tied(self, strategy: SelectionStrategy) -> None:
        tree, rng = start_tree(quotas=(200, 1), reference="design-0"), Random(0)
        parents: Counter[str] = Counter()
        for i in range(120):
            chosen = strategy.select(tree.population(), rng=rng).parents if i > 2 else ()
            parents.update(chosen)
            add_design(tree, f"design-{i}", is_seed=i < 2, parents=chosen)
            verify(tree, f"design-{i}", "small", 0.5)
        (most, n), n_all = parents.most_common(1)[0], parents.total()
        assert len(parents) >= 20 and n < 0.3 * n_all, (
            f"all designs measure alike, yet only {len(parents)} become parents, {most} {n} times of {n_all}"
        )

    @pytest.mark.parametrize("seed", range(6))
    @pytest.mark.parametrize(("n_seeds", "tied"), [(0, False), (2, False), (2, True)])
    def test_lives_through_whatever_befalls_its_designs(
        self, strategy: SelectionStrategy, seed: int, n_seeds: int, tied: bool
    ) -> None:
        rng = Random(seed)
        check_life(strategy, [rng.getrandbits(32) for _ in range(80)], n_seeds=n_seeds, tied=tied)

    def test_answers_with_plain_values_that_outlive_the_population(self, strategy: SelectionStrategy) -> None:
        tree = _grown(60)
        selection = strategy.select(tree.population(), rng=Random(0))
        _add(tree, ("design-0",), Random(0))
        plain: list[object] = [*selection.parents, *selection.references, selection.reason, {**selection.odds}]
        assert json.loads(json.dumps(plain, allow_nan=False)) == plain, f"{selection} is not of plain values"

    def test_a_call_costs_no_more_among_many_designs(self, strategy: SelectionStrategy) -> None:
        few, many = (_lines_a_call(strategy, _grown(n)) for n in (300, 1200))
        assert many <= 2 * few + 200, (
            f"{few:.0f} lines of Python run for a choice among 300 designs, {many:.0f} for one among 1,200"
        )


def check_life(strategy: SelectionStrategy, draws: Sequence[int], *, n_seeds: int = 2, tied: bool = False) -> None:
    """Let a strategy choose all through a life of a run: always what is valid, and after a restart the same.

    Args:
        draws: See `live`.
    """
    afresh, rng = (deepcopy(strategy), deepcopy(strategy)), Random(0)

    def select(population: Population) -> Selection:
        return validate_selection(strategy.select(population, rng=rng), population)

    tree, events = live(select, draws, n_seeds=n_seeds, tied=tied)
    replayed = EvolutionTree(tree.rule)
    for event in events:
        replayed.apply(event)
    restored = EvolutionTree.from_snapshot(json.loads(json.dumps(tree.to_snapshot())), tree.rule)
    lived = _choices(strategy, tree)
    for again, how in zip(afresh, (replayed, restored), strict=True):
        assert _choices(again, how) == lived, "a restart changes what it chooses: it remembers more than the population"


def _choices(strategy: SelectionStrategy, tree: EvolutionTree) -> list[Selection]:
    return [strategy.select(tree.population(), rng=Random(seed)) for seed in range(20)]


def _grown(n: int) -> EvolutionTree:
    """A run with n designs, verified at the bottom and half of them above.

    A larger one begins like a smaller one, so that both are rated on the same axes.
    """
    tree, rng = start_tree(quotas=(10**6,) * 3, reference="design-0"), Random(0)
    for i in range(n):
        _add(tree, (f"design-{rng.randrange(i)}",) if i >= 3 else (), rng)
    return tree


def _add(tree: EvolutionTree, parents: tuple[str, ...], rng: Random) -> None:
    """One more design; a seed without parents."""
    design, quality = f"design-{len(tree)}", rng.random()
    add_design(tree, design, is_seed=not parents, parents=parents)
    verify(tree, design, "small", quality, recall=rng.random() < 0.5)
    if not parents or rng.random() < 0.5:
        verify(tree, design, "middle", quality)


def _lines_a_call(strategy: SelectionStrategy, tree: EvolutionTree) -> float:
    """Lines of Python that a choice takes, on average, while the run goes on: what it costs on any machine."""
    rng, n_calls = Random(0), 16
    strategy.select(tree.population(), rng=rng)  # what is kept from call to call is built once
    n_lines = 0
    for _ in range(n_calls):
        _add(tree, (f"design-{rng.randrange(len(tree))}",), rng)
        n_lines += _n_lines(partial(strategy.select, tree.population(), rng=rng))
    return n_lines / n_calls


def _n_lines(call: Callable[[], object]) -> int:
    """How many lines of Python a call runs, each turn of a loop counted."""
    n_lines = 0

    def trace(_frame: FrameType, event: str, _arg: object) -> Callable[..., Any]:
        nonlocal n_lines
        n_lines += event == "line"
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        call()
    finally:
        sys.settrace(before)
    return n_lines
