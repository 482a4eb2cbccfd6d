"""What each selection strategy promises by its name, and that the conformance case finds those that break it."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import replace
from math import inf
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from genesys.errors import ConfigError
from genesys.evolution import EvolutionTree, Population
from genesys.evolution.events import (
    DesignImplemented,
    DesignProposed,
    LeaseGranted,
    VerificationFailed,
    VerificationRecorded,
)
from genesys.evolution.selection import (
    SELECTIONS,
    Adaptive,
    Greedy,
    Islands,
    MapElites,
    OperatorRates,
    QuadrantSelection,
    RandomSelection,
    Selection,
    SelectionStrategy,
    UpperConfidenceBound,
    resolve_selection,
)
from genesys.evolution.selection.adaptive import Progress
from genesys.evolution.selection.base import n_first
from genesys.evolution.selection.islands import SEEDS, Archipelago
from genesys.evolution.selection.map_elites import unmeasured
from genesys.testing import SelectionStrategyTestCase, add_design, make_population, metrics_for, start_tree, verify
from genesys.testing.selection import check_life

MUTATE = OperatorRates(mutation=1.0, crossover=0.0, scratch=0.0, restart=0.0, seed_until=-1)
CROSS = OperatorRates(mutation=0.0, crossover=1.0, scratch=0.0, restart=0.0, seed_until=-1, crossover_from=0)


def parents_of(strategy: SelectionStrategy, population: Population, n: int = 200) -> list[str]:
    rng = Random(0)
    return [parent for _ in range(n) for parent in strategy.select(population, rng=rng).parents]


@pytest.mark.parametrize("name", SELECTIONS)
@settings(max_examples=8)
@given(draws=st.lists(st.integers(0, 2**32), max_size=60), n_seeds=st.integers(0, 3), tied=st.booleans())
def test_parents_are_valid_through_any_history(name: str, draws: list[int], n_seeds: int, tied: bool) -> None:
    check_life(resolve_selection(name), draws, n_seeds=n_seeds, tied=tied)


# --- the case finds those that break it --------------------------------------------------------------------


def _rates(population: Population, rng: Random, pick: Any) -> Selection:
    return OperatorRates().plan(population, rng, pick)


class _OfItsOwnChance:
    def select(self, population: Population, *, rng: Random) -> Selection:
        return _rates(population, rng, lambda: population.eligible[random.randrange(len(population.eligible))])


class _ReadsAll:
    def select(self, population: Population, *, rng: Random) -> Selection:
        return _rates(population, rng, lambda: rng.choice([view for view in population.eligible if view.rung < 9]))


class _Counts:
    def __init__(self) -> None:
        self.n = 0

    def select(self, population: Population, *, rng: Random) -> Selection:
        self.n += 1
        return _rates(population, rng, lambda: population.eligible[self.n % len(population.eligible)])


class _KeepsThePopulation:
    def __init__(self) -> None:
        self.population: Population | None = None

    def select(self, population: Population, *, rng: Random) -> Selection:
        self.population = self.population or population
        return _rates(self.population, rng, lambda: population.sample(rng, 1)[0])


class _PrefersAnId:
    def select(self, population: Population, *, rng: Random) -> Selection:
        if not population.eligible:
            return Selection(operator="scratch", parents=())
        return Selection(operator="mutation", parents=(max(view.id for view in population.eligible),))


@pytest.mark.parametrize(
    ("strategy", "test", "complaint"),
    [
        (_OfItsOwnChance(), "test_takes_its_chance_from_the_generator_given", "the same generator"),
        (_ReadsAll(), "test_a_call_costs_no_more_among_many_designs", "lines of Python"),
        (_PrefersAnId(), "test_builds_on_many_designs_when_all_are_tied", "all designs measure alike"),
    ],
)
def test_the_case_finds_a_bad_strategy(strategy: Any, test: str, complaint: str) -> None:
    with pytest.raises(AssertionError, match=complaint):
        getattr(SelectionStrategyTestCase(), test)(strategy)


@pytest.mark.parametrize(
    ("strategy", "complaint"),
    [(_Counts(), "it remembers more than the population"), (_KeepsThePopulation(), "the evolution has moved on")],
)
def test_a_life_finds_what_remembers(strategy: Any, complaint: str) -> None:
    with pytest.raises((AssertionError, RuntimeError), match=complaint):
        check_life(strategy, [Random(0).getrandbits(32) + i for i in range(80)])


# --- greedy ------------------------------------------------------------------------------------------------


def test_greedy_builds_on_the_fittest_and_crosses_it_with_the_next() -> None:
    population = make_population(30)
    best, second = (view.id for view in population.top(2))
    assert set(parents_of(Greedy(rates=MUTATE), population)) == {best}
    assert set(parents_of(Greedy(rates=CROSS), population)) == {best, second}


def test_greedy_draws_among_those_tied_for_first() -> None:
    tree = start_tree(reference="a")
    for design, quality in (("a", 0.1), ("b", 0.7), ("c", 0.7), ("d", 0.7), ("e", 0.2)):
        add_design(tree, design, is_seed=design == "a")
        verify(tree, design, "small", quality)
    drawn = Counter(parents_of(Greedy(rates=MUTATE), tree.population(), 300))
    assert set(drawn) == {"b", "c", "d"} and min(drawn.values()) > 70
    assert set(parents_of(Greedy(rates=CROSS), tree.population())) == {"b", "c", "d"}


# --- quadrant ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("exploit", [0.0, 1.0])
def test_quadrants_leave_nobody_out_when_all_are_tied(exploit: float) -> None:
    tree = start_tree(quotas=(40, 4, 1), reference="design-0")
    for i in range(40):
        add_design(tree, f"design-{i}", is_seed=i < 2)
        verify(tree, f"design-{i}", "small", 0.5)
    drawn = set(parents_of(QuadrantSelection(exploit=exploit, rates=MUTATE), tree.population(), 1000))
    assert len(drawn) == 40, "alike in fitness and confidence, so alike in chance to be drawn at all"


def test_whoever_is_as_fit_as_the_last_good_one_is_never_explored() -> None:
    tree = start_tree(quotas=(40, 4, 1), reference="design-0")
    for i in range(40):
        add_design(tree, f"design-{i}", is_seed=i < 2)
        verify(tree, f"design-{i}", "small", 0.9 if i < 30 else 0.1)
    explored = set(parents_of(QuadrantSelection(exploit=0.0, rates=MUTATE), tree.population(), 400))
    assert explored == {f"design-{i}" for i in range(30, 40)}


# --- upper confidence bounds -------------------------------------------------------------------------------


def _with_children(n_children: dict[str, int], qualities: dict[str, float]) -> EvolutionTree:
    tree = start_tree(quotas=(100, 10, 1), reference="seed")
    add_design(tree, "seed", is_seed=True)
    verify(tree, "seed", "small", 0.0)
    for design, quality in qualities.items():
        add_design(tree, design)
        verify(tree, design, "small", quality)
    for parent, n in n_children.items():
        for i in range(n):
            tree.apply(DesignProposed(design=f"{parent}-{i}", name="n", program="p", operator="mutation", parents=(parent,)))  # fmt: skip
    return tree


def test_a_bound_prefers_the_less_built_upon_among_equals() -> None:
    tree = _with_children({"a": 4, "b": 1, "c": 9}, {"a": 0.8, "b": 0.8, "c": 0.8})
    assert set(parents_of(UpperConfidenceBound(rates=MUTATE), tree.population())) == {"b"}


def test_a_bound_leaves_the_best_once_it_was_built_upon_enough() -> None:
    qualities = {"best": 0.9, "good": 0.85, "poor": 0.1, "worse": 0.05}
    chosen = {
        n: set(parents_of(UpperConfidenceBound(rates=MUTATE), _with_children({"best": n}, qualities).population()))
        for n in (0, 30)
    }
    assert chosen == {0: {"best"}, 30: {"good"}}
    population = _with_children({"best": 30}, qualities).population()
    assert set(parents_of(UpperConfidenceBound(c=0.0, rates=MUTATE), population)) == {"best"}


def test_bounds_of_few_candidates_still_give_two_parents() -> None:
    strategy = UpperConfidenceBound(n_best=0, n_drawn=1, rates=CROSS)
    assert len(set(parents_of(strategy, make_population(12)))) > 5


# --- islands -----------------------------------------------------------------------------------------------


def _archipelago(population: Population, strategy: Islands) -> Archipelago:
    return Archipelago.of(population, strategy, strategy.n, strategy.migration)


def test_a_lineage_stays_on_its_island_and_seeds_live_on_all() -> None:
    population = make_population(60, n_seeds=2)
    strategy = Islands(migration=0.0, rates=MUTATE)
    islands, rng = _archipelago(population, strategy), Random(0)
    for design in (population.get(f"design-{i}") for i in range(60)):
        homes = {islands.home(parent) for parent in design.parents} - {SEEDS}
        assert islands.home(design.id) in (homes or ({SEEDS} if design.is_seed else range(4)))
    parents: dict[str, set[int]] = {}
    for _ in range(400):
        selection = strategy.select(population, rng=rng)
        parents.setdefault(selection.reason, set()).add(islands.home(selection.parents[0]))
    assert {reason: homes - {SEEDS} for reason, homes in parents.items()} == {f"island {i}": {i} for i in range(4)}
    assert any(SEEDS in homes for homes in parents.values())


def test_a_migrated_lineage_appears_on_the_next_island_and_is_built_upon_there() -> None:
    tree, strategy, rng = (
        start_tree(quotas=(300, 10, 1), reference="design-0"),
        Islands(migration=0.2, rates=MUTATE),
        Random(1),
    )
    add_design(tree, "design-0", is_seed=True)
    verify(tree, "design-0", "small", 0.0)
    for i in range(1, 5):
        add_design(tree, f"design-{i}", parents=("design-0",))
        verify(tree, f"design-{i}", "small", 0.1)
    for i in range(5, 200):  # only the lineage of design-1 ever measures well
        (parent,) = strategy.select(tree.population(), rng=rng).parents
        add_design(tree, f"design-{i}", parents=(parent,))
        verify(tree, f"design-{i}", "small", 0.9 if "design-1" in _ancestry(tree, f"design-{i}") else 0.1)
    islands = _archipelago(tree.population(), strategy)
    home = islands.home("design-1")
    line = {d for d in tree.records if "design-1" in _ancestry(tree, d)}
    movers = [d for d in line for p in tree.record(d).parents if islands.home(p) not in (SEEDS, islands.home(d))]
    assert movers and all(islands.home(d) == (islands.home(tree.record(d).parents[0]) + 1) % strategy.n for d in movers)
    abroad = {islands.home(d) for d in line} - {home}
    assert len(abroad) == 3, "the good lineage has reached every island"
    assert any(tree.children(d) for d in movers), "and is built upon where it arrived"


def _ancestry(tree: EvolutionTree, design: str) -> set[str]:
    parents = tree.record(design).parents
    return {design}.union(*(_ancestry(tree, parent) for parent in parents))


# --- MAP-Elites --------------------------------------------------------------------------------------------


def _measured(tree: EvolutionTree, design: str, quality: float, **more: float) -> None:
    """A design verified at the bottom, with descriptors beside its quality."""
    add_design(tree, design, is_seed=design == "seed")
    lease = tree.last_lease + 1
    tree.apply(LeaseGranted(lease=lease, design=design, scale="small", holder="test"))
    metrics = {"test_bpb": 3.0 - quality, "unigram_bpb": 4.0, **more}
    tree.apply(VerificationRecorded(lease=lease, design=design, scale="small", metrics=metrics, report="r"))


def _map() -> EvolutionTree:
    tree = start_tree(quotas=(20, 5, 1), training_seeds=2, reference="seed")
    _measured(tree, "seed", 0.2, probe_recall=0.95, flops_per_token=1e6)
    _measured(tree, "dense", 0.9, probe_recall=0.95, flops_per_token=1e6)
    _measured(tree, "dear", 0.3, probe_recall=0.95, flops_per_token=4e6)
    _measured(tree, "deaf", 0.5, probe_recall=0.1, flops_per_token=1e6)
    _measured(tree, "deafer", 0.4, probe_recall=0.12, flops_per_token=0.98e6)
    return tree


def test_elites_are_the_fittest_of_their_cells_alike_in_chance() -> None:
    drawn = Counter(parents_of(MapElites(rates=MUTATE), _map().population(), 600))
    assert set(drawn) == {"dense", "dear", "deaf"} and min(drawn.values()) > 150


def test_a_descriptor_that_no_rated_design_has_is_named() -> None:
    tree, empty = _map(), start_tree()
    options = {"descriptors": {"flops": [], "probe_recall": [0.5]}}
    for each in (tree, empty):
        assert each.run is not None and unmeasured(each) == ()
        each.run = replace(each.run, config={"selection": {"name": "map_elites", "options": options}})
    assert unmeasured(tree) == ("flops",)
    assert unmeasured(empty) == (), "nothing is rated yet"


def test_an_elite_that_fails_or_measures_worse_makes_way() -> None:
    tree, strategy = _map(), MapElites(rates=MUTATE)
    assert "deaf" in parents_of(strategy, tree.population())
    lease = tree.last_lease + 1
    tree.apply(LeaseGranted(lease=lease, design="deaf", scale="middle", holder="test"))
    tree.apply(VerificationFailed(lease=lease, design="deaf", scale="middle", cause="non-finite"))
    drawn = set(parents_of(strategy, tree.population()))
    assert "deafer" in drawn and "deaf" not in drawn
    _measured(tree, "rival", 0.8, probe_recall=0.95, flops_per_token=1e6)
    assert "rival" not in parents_of(strategy, tree.population())
    lease = tree.last_lease + 1
    tree.apply(LeaseGranted(lease=lease, design="dense", scale="small", seed=1, holder="test"))
    again = metrics_for(0.1)
    tree.apply(VerificationRecorded(lease=lease, design="dense", scale="small", seed=1, metrics=again, report="r"))
    drawn = set(parents_of(strategy, tree.population()))
    assert "rival" in drawn and "dense" not in drawn


def test_elites_of_one_cell_that_are_tied_are_drawn_by_lot() -> None:
    drawn = Counter(parents_of(MapElites(descriptors={}, rates=MUTATE), make_population(20, tied=True), 400))
    assert len(drawn) == 20 and max(drawn.values()) < 60


def test_descriptors_that_nobody_has_make_no_difference() -> None:
    population = make_population(40)
    with_recall = MapElites(descriptors={"probe_recall": (0.5,)}, rates=MUTATE)
    more = MapElites(descriptors={"probe_recall": (0.5,), "state_size": ()}, rates=MUTATE)
    assert set(parents_of(with_recall, population)) == set(parents_of(more, population))
    assert len(set(parents_of(with_recall, population))) == 2
    with pytest.raises(ConfigError, match="by 'probe_recall' at"):
        MapElites(descriptors={"probe_recall": (0.9, 0.5)})


# --- adaptive ----------------------------------------------------------------------------------------------


def test_an_island_explores_the_less_the_more_it_improves() -> None:
    strategy = Adaptive()
    still, moving = Progress(), Progress()
    for _ in range(20):
        still, moving = still.after(0.0, strategy.decay), moving.after(3.0, strategy.decay)
    assert strategy.intensity(still) == strategy.most == 0.5
    assert strategy.least < strategy.intensity(moving) < 0.26
    for _ in range(60):
        moving = moving.after(0.0, strategy.decay)
    assert strategy.intensity(moving) > 0.4, "what was gained long ago is forgotten"


def test_the_island_that_improves_is_chosen_most_and_the_others_are_not_forgotten() -> None:
    tree, strategy, rng = (
        start_tree(quotas=(300, 10, 1), reference="seed"),
        Adaptive(migration=0.0, c=0.3, rates=MUTATE),
        Random(0),
    )
    add_design(tree, "seed", is_seed=True)
    verify(tree, "seed", "small", 0.0)
    last = {}
    for i in range(4):
        last[i] = f"founder-{i}"
        add_design(tree, last[i], parents=("seed",))
        verify(tree, last[i], "small", 0.1)
    islands = Archipelago.of(tree.population(), strategy, 4, 0.0)
    gaining = islands.home("founder-2")
    for i in range(60):
        for k, parent in list(last.items()):
            last[k] = f"design-{i}-{k}"
            add_design(tree, last[k], parents=(parent,))
            verify(tree, last[k], "small", 0.1 + 0.01 * i if k == 2 else 0.1)
    drawn = Counter()  # type: Counter[str]
    for _ in range(50):  # the tree stands still, so let the choices count as designs of no gain
        drawn[strategy.select(tree.population(), rng=rng).reason.partition(":")[0]] += 1
    assert drawn.most_common(1)[0][0] == f"island {gaining}"
    progress = strategy.progress(tree.population(), Archipelago.of(tree.population(), strategy, 4, 0.0))
    assert progress[gaining].reward > 0 and all(p.reward == 0 for k, p in progress.items() if k != gaining)


# --- seeds -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SELECTIONS)
def test_without_seeds_the_warm_up_is_waived(name: str) -> None:
    population, rng = make_population(4, n_seeds=0), Random(0)
    strategy = resolve_selection(name)
    assert {strategy.select(population, rng=rng).operator for _ in range(300)} == {"mutation", "crossover", "scratch"}


def test_restarts_are_as_frequent_as_asked_for() -> None:
    population, rng = make_population(40, n_seeds=3), Random(0)
    strategy = RandomSelection(rates=OperatorRates(restart=0.3))
    reasons = Counter(strategy.select(population, rng=rng).reason for _ in range(3000))
    assert abs(reasons["restart from the seeds"] / 3000 - 0.95 * 0.3) < 0.03


def test_a_seed_that_was_rejected_is_left_out() -> None:
    tree = start_tree(reference="")
    for design in ("a", "b"):
        tree.apply(DesignProposed(design=design, name=design, program="p", operator="seed", is_seed=True))
    tree.apply(DesignImplemented(design="b", checker="test"))
    population = tree.population()
    assert [view.id for view in population.seeds] == ["b"]
    assert set(parents_of(RandomSelection(), population)) == {"b"}


# --- what a strategy may keep ------------------------------------------------------------------------------


class _Breaks:
    """Breaks off in the middle of the second call."""

    def select(self, population: Population, *, rng: Random) -> Selection:
        seen = population.kept(self, lambda: list[str]())
        seen.append("half done")
        if len(seen) == 2:
            raise ValueError("in the middle")
        return Selection(operator="mutation", parents=(population.eligible[0].id,))


def test_what_a_failed_call_kept_is_dropped() -> None:
    from genesys.evolution.selection import select_safely

    population, strategy = make_population(12), _Breaks()
    failures = [select_safely(strategy, population, Random(0))[1] is not None for _ in range(4)]
    assert failures == [False, True, False, True]


def test_a_population_tells_what_is_new() -> None:
    tree = start_tree(reference="a")
    for design in "abc":
        add_design(tree, design, is_seed=design == "a")
    population = tree.population()
    assert (
        population.proposed() == ("a", "b", "c") and population.proposed(2) == ("c",) and population.proposed(3) == ()
    )
    assert population.n_commits == 0 and list(population.rerated()[0]) == []
    verify(tree, "a", "small", 0.1)
    verify(tree, "b", "small", 0.2)
    population = tree.population()
    ids, mark = population.rerated()
    assert set(ids) == {"a", "b"} and list(population.commits(1)) == ["b"] and population.value("c") == -inf
    verify(tree, "b", "middle", 0.3)
    population = tree.population()
    assert set(population.rerated(mark)[0]) == {"b"}
    assert population.value("b") == population.get("b").best.value  # type: ignore[union-attr]


@given(values=st.lists(st.integers(0, 5), max_size=30), share=st.floats(0, 1))
def test_the_first_share_of_a_ranking_takes_in_who_is_tied_with_its_last(values: list[int], share: float) -> None:
    ranked = sorted(values, reverse=True)
    n = n_first(ranked, share, float)
    assert n >= share * len(ranked) and (n > 0) == bool(ranked)
    assert all(value < ranked[n - 1] for value in ranked[n:]), "nobody who is as good is left out"
    assert not n or sum(value > ranked[n - 1] for value in ranked) < max(1, share * len(ranked)), (
        "nobody else is let in"
    )


def test_slices_of_a_population_look_at_nobody() -> None:
    population = make_population(60)
    half = population.rated[:30]
    assert len(half) == 30 and half[-1].id == population.rated[29].id and [v.id for v in half[5:7]] == [
        population.rated[5].id, population.rated[6].id,
    ]  # fmt: skip
    population = make_population(60)
    _ = population.rated[:30][10:], population.top(40), population.youngest(50)
    assert not population._views
