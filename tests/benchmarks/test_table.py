"""The table: designs that depend on a seed alone, rows that survive their file, a replay that finds what is there."""

from __future__ import annotations

import asyncio
from dataclasses import asdict, replace
from pathlib import Path
from random import Random
from statistics import fmean

import pytest

from benchmarks.table.contestants import challengers, contestants
from benchmarks.table.designs import ALPHABETS, SLOT, Alphabet, read_designs, starting_designs, write_designs
from benchmarks.table.landscape import decision_accuracy, extent, landscape, smoothness
from benchmarks.table.replay import COSTS, Replay, budget_of, child, quotas_of, replay_all
from benchmarks.table.report import Line, conclusion, concordance, estimate, plot, summarise, winner, write_report
from benchmarks.table.rows import read_rows, thinned, write_rows
from benchmarks.table.train import SCALES, Filling, check_rows, plan
from genesys.errors import ConfigError
from genesys.evolution.selection import Selection
from genesys.gau.library import seed_design
from genesys.ladder import CPU_SCALES
from genesys.verification import recipe_hash
from tests.benchmarks.synthetic import GPT, hill, made_up_designs, rugged_value, smooth_value, synthetic_rows
from tests.train.data import small_shards

pytest.importorskip("pyarrow", reason="the table is a Parquet file: the extra `export`")


@pytest.mark.parametrize("alphabet", ALPHABETS)
def test_a_longer_list_of_designs_begins_with_the_shorter_one(alphabet: Alphabet) -> None:
    designs = made_up_designs(alphabet, 14)
    assert [d.id for d in made_up_designs(alphabet, 9)] == [d.id for d in designs[:9]]
    assert len({d.id for d in designs}) == 14 and designs[0].id == GPT
    assert {d.operator for d in designs} >= {"seed", "scratch", "mutation"}
    known = {d.id for d in designs}
    assert all(parent in known for d in designs for parent in d.parents)


def test_in_mixers_only_the_mixer_of_gpt_differs() -> None:
    gpt = seed_design("gpt")
    for design in made_up_designs("mixers", 14):
        assert gpt.graft(SLOT, design.tree.at(SLOT)) == design.tree


def test_designs_and_rows_survive_their_files(tmp_path: Path) -> None:
    designs = [*made_up_designs("full", 8), *starting_designs("mixers")[1:]]
    write_designs(designs, tmp_path / "designs.json")
    assert read_designs(tmp_path / "designs.json") == designs
    rows = synthetic_rows(designs, failing=(designs[-1].id,))
    write_rows(rows, tmp_path / "table.parquet")
    assert read_rows(tmp_path / "table.parquet") == rows
    assert read_rows(tmp_path / "none.parquet") == []


def test_a_changed_design_is_refused(tmp_path: Path) -> None:
    write_designs(made_up_designs("full", 5), tmp_path / "designs.json")
    text = (tmp_path / "designs.json").read_text()
    (tmp_path / "designs.json").write_text(text.replace('"expansion": 2.0', '"expansion": 3.0'))
    with pytest.raises(ValueError, match="Cannot read design 'retnet'"):
        read_designs(tmp_path / "designs.json")


def test_every_design_is_verified_before_the_next_rung_and_every_rung_before_the_next_seed() -> None:
    designs = [*made_up_designs("full", 7), *made_up_designs("mixers", 7)[1:]]
    cases = [(design.id, rung, seed) for design, rung, seed in plan(designs)]
    assert len(cases) == len(set(cases)) == 13 * 3 * 3
    assert [case[1:] for case in cases[: 13 * 4 : 13]] == [(0, 0), (1, 0), (0, 1), (1, 1)]


def test_rows_of_other_data_or_another_recipe_are_not_gone_on_with() -> None:
    recipe = recipe_hash(asdict(SCALES[0]))
    row = replace(synthetic_rows(made_up_designs("full", 5))[0], data="mine", recipe=recipe)
    check_rows([row, replace(row, outcome="failed", recipe="")], "mine")
    with pytest.raises(ConfigError, match="Cannot go on with the table: its row of 'gpt' at cpu-1"):
        check_rows([row], "yours")
    with pytest.raises(ConfigError, match="by recipe 000"):
        check_rows([replace(row, recipe="0" * 64)], "mine")


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_table_is_filled_row_by_row_and_not_twice(tmp_path: Path) -> None:
    cases = [(design, 0, seed) for seed in range(2) for design in made_up_designs("full", 2)]
    shards, scale = small_shards(tmp_path / "shards"), replace(CPU_SCALES[0], n_tokens=512 * 40, probes=())
    for n in (3, 4, 4):
        filling = Filling(cases[:n], shards, tmp_path / "table.parquet", tmp_path / "work", scales=[scale])
        asyncio.run(filling.run(2))
        rows = read_rows(tmp_path / "table.parquet")
        assert len(rows) == n and {row.key for row in rows} == {(d.id, rung, seed) for d, rung, seed in cases[:n]}
    assert not list((tmp_path / "work").glob("*/0-*")), "what a row was made from is gone"
    for row in rows:
        assert row.outcome == "committed" and row.flops > 0 and row.train_seconds < row.seconds
        assert 2 <= len(row.curve_tokens) == len(row.curve_nats) <= 20 and row.metrics["test_bpb"] > 0


def test_a_curve_is_thinned_evenly_and_keeps_its_ends() -> None:
    curve = [(n, float(n)) for n in range(50)]
    points = thinned(curve, 20)
    assert len(points) == 20 and points[0] == curve[0] and points[-1] == curve[-1]
    assert thinned(curve[:3]) == curve[:3]


def test_smoothness_is_found_where_it_is_and_not_where_it_is_not() -> None:
    designs = made_up_designs("full", 24)
    smooth = smoothness(landscape(synthetic_rows(designs), "full", n_rungs=2, n_seeds=2), n_permutations=100)
    rugged = smoothness(
        landscape(synthetic_rows(designs, value=rugged_value), "full", n_rungs=2, n_seeds=2), n_permutations=100
    )
    assert smooth.p_nearest <= 0.05 and smooth.p_correlation <= 0.05 and smooth.nearest_gap < smooth.any_gap
    assert rugged.p_nearest > 0.05 and rugged.p_correlation > 0.05


def test_decisions_are_certain_without_noise_and_by_lot_when_noise_is_all() -> None:
    designs = made_up_designs("full", 16)
    exact = landscape(synthetic_rows(designs, noise=0.0), "full", n_rungs=2, n_seeds=2)
    assert decision_accuracy(exact, 0, n_boot=50)[0] > 0.98  # a pair of equal worth is decided by lot
    lot = landscape(synthetic_rows(designs, noise=50.0), "full", n_rungs=2, n_seeds=2)
    share, low, high = decision_accuracy(lot, 0, n_boot=50)
    assert 0.3 < share < 0.7 and low <= share <= high


def test_a_design_that_fails_on_the_way_has_no_value_and_fails_in_the_replay() -> None:
    designs = made_up_designs("full", 10)
    failing = max((d for d in designs if d.operator != "seed"), key=lambda d: smooth_value(d.tree)).id
    land = landscape(synthetic_rows(designs, failing=(failing,)), "full", n_rungs=2, n_seeds=2)
    assert failing in land.places and failing not in land.values
    replay = Replay(land, contestants()[0], seed=1, quotas=(10, 10), budget=1e18)
    replay.run()
    assert replay.tree.record(failing).state == "failed"
    assert not replay.tree.leases and replay.tree.ledger.is_spent()


def test_designs_without_all_their_rows_are_left_out_and_the_reference_may_not_be() -> None:
    rows = synthetic_rows(made_up_designs("full", 8))
    partial = [row for row in rows if not (row.design == rows[-1].design and row.seed == 1)]
    assert len(landscape(partial, "full", n_rungs=2, n_seeds=2).places) == 7
    with pytest.raises(ValueError, match="its reference lacks rows"):
        landscape([row for row in rows if row.design != GPT], "full", n_rungs=2, n_seeds=2)


def test_the_extent_of_a_table_is_where_half_of_its_designs_are_whole() -> None:
    designs = [*made_up_designs("full", 8), *made_up_designs("mixers", 8)[1:]]
    rows = synthetic_rows(designs)
    order = [design.id for design in designs]
    rows.sort(key=lambda row: (row.seed, row.rung, order.index(row.design)))  # as the table is filled

    def after(n: int) -> tuple[int, int]:
        return extent(rows[:n], ALPHABETS)

    assert [after(n) for n in (0, 15, 15 + 10)] == [(1, 1)] * 3, "half of `full` alone"
    assert [after(n) for n in (15 + 11, 45, 55, 60)] == [(2, 1), (2, 1), (2, 1), (2, 2)]
    without = [row for row in rows if not (row.design == GPT and row.rung == 1)]
    assert extent(without, ALPHABETS) == (1, 2), "no more than the reference has"


OWN = """
class Scratch:
    def select(self, population, *, rng):
        from genesys.evolution.selection import Selection
        return Selection(operator="scratch", parents=())

class Boom:
    def select(self, population, *, rng):
        raise KeyError("oops")

class Stubborn:
    def promote(self, population, openings, *, rng):
        raise KeyError("no")
"""


def test_strategies_of_ones_own_are_compared_with_the_baselines(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "own_of_table.py").write_text(OWN)
    monkeypatch.syspath_prepend(tmp_path)
    found = challengers(["own_of_table:Scratch", "ucb", "random"], [])
    assert [c.name for c in found] == ["iid", "random", "own_of_table:Scratch", "ucb"]
    assert [c.name for c in challengers([], ["hurdle", "own_of_table:Stubborn"])][2:] == [
        "random, promotion hurdle", "random, promotion own_of_table:Stubborn",
    ]  # fmt: skip
    land = landscape(synthetic_rows(made_up_designs("full", 10)), "full", n_rungs=2, n_seeds=2)
    curves = replay_all(land, found, n_seeds=2)
    assert {line.name for line in summarise(land, curves, "flops")} == {c.name for c in found}
    assert [curve.costs[-1] > 0 for curve in curves["own_of_table:Scratch"]] == [True, True]


def test_a_strategy_that_fails_is_refused_rather_than_measured_by_its_replacement(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "own_of_table.py").write_text(OWN)
    monkeypatch.syspath_prepend(tmp_path)
    land = landscape(synthetic_rows(made_up_designs("full", 10)), "full", n_rungs=2, n_seeds=2)
    with pytest.raises(ConfigError, match=r"Cannot replay 'own_of_table:Boom': .*Boom failed \(KeyError: 'oops'\)"):
        replay_all(land, challengers(["own_of_table:Boom"], [])[2:], n_seeds=1)
    with pytest.raises(ConfigError, match=r"promotion strategy Stubborn failed \(KeyError: 'no'\)"):
        replay_all(land, challengers([], ["own_of_table:Stubborn"])[2:], n_seeds=1)
    with pytest.raises(ConfigError, match="Cannot use selection strategy 'own_of_table:None_such'"):
        challengers(["own_of_table:None_such"], [])


def test_a_child_is_near_its_parents() -> None:
    land = landscape(synthetic_rows(made_up_designs("full", 20)), "full", n_rungs=2, n_seeds=2)
    ids, rng = sorted(land.places), Random(0)
    parent, undrawn = ids[0], ids[1:]
    nearest = sorted(land.distances[parent, d] for d in undrawn)
    for _ in range(20):
        found = child(land, undrawn, Selection(operator="mutation", parents=(parent,)), rng)
        assert land.distances[parent, found] <= nearest[2]
    drawn = {child(land, undrawn, Selection(operator="scratch", parents=()), rng) for _ in range(200)}
    assert len(drawn) > 12


def test_every_contestant_finds_the_best_of_a_table_that_it_may_read_whole() -> None:
    land = landscape(synthetic_rows(made_up_designs("full", 12), noise=0.0), "full", n_rungs=2, n_seeds=2)
    for contestant in contestants():
        curve = Replay(land, contestant, seed=3, quotas=(12, 12), budget=1e18).run()
        assert curve.values[-1] == pytest.approx(land.best), contestant.name
        assert list(curve.costs) == sorted(curve.costs)


def test_greedy_choice_beats_independent_draws_on_a_hill() -> None:
    designs = made_up_designs("full", 60)
    rows = synthetic_rows(designs, value=hill(designs[40].tree), noise=0.0)
    land = landscape(rows, "full", n_rungs=2, n_seeds=2)
    by_name = {c.name: c for c in contestants()}
    found = {
        name: [Replay(land, by_name[name], seed=s, quotas=(18, 6), budget=1e18).run().values[-1] for s in range(30)]
        for name in ("iid", "greedy")
    }
    assert fmean(found["greedy"]) > fmean(found["iid"]) + 0.01


def test_a_replay_depends_on_its_seed_alone() -> None:
    land = landscape(synthetic_rows(made_up_designs("full", 14)), "full", n_rungs=2, n_seeds=2)
    contestant = contestants()[3]
    runs = [Replay(land, contestant, seed=s, quotas=(9, 3), budget=1e18).run() for s in (5, 5, 6)]
    assert runs[0] == runs[1] != runs[2]


def test_the_budget_ends_a_replay() -> None:
    land = landscape(synthetic_rows(made_up_designs("full", 14)), "full", n_rungs=2, n_seeds=2)
    curve = Replay(land, contestants()[1], seed=0, quotas=(9, 3), budget=2e12).run()
    assert curve.costs[-1] >= 2e12 > curve.costs[-2]
    assert quotas_of(land) == (8, 3)
    assert budget_of(land, (8, 3), COSTS["flops"]) == pytest.approx(8e11 + 3 * 4e11)


def test_the_report_ranks_contestants_and_draws_them(tmp_path: Path) -> None:
    lands = [
        landscape(synthetic_rows(made_up_designs(a, 12)), a, n_rungs=2, n_seeds=2) for a in ALPHABETS
    ]  # fmt: skip
    curves = {
        land.alphabet: {
            c.name: [Replay(land, c, seed=s, quotas=quotas_of(land), budget=1e13).run() for s in range(3)]
            for c in contestants()
            if c.name in ("iid", "random", "tournament", "iid, no ladder")
        }
        for land in lands
    }  # fmt: skip
    (tmp_path / "table.md").write_text("# A page\n\nText.\n\n<!-- measured -->\n\nold figures\n")
    text = write_report(lands, curves, cost="flops", out=tmp_path)
    page = (tmp_path / "table.md").read_text()
    assert page.startswith("# A page\n\nText.") and "old figures" not in page and text in page
    assert "| iid |" in text and "Kendall's tau" in text and "independent draws" in text
    assert (tmp_path / "table.svg").read_text() == plot(
        {land.alphabet: summarise(land, curves[land.alphabet], "flops") for land in lands}
    )
    assert (tmp_path / "table.svg").stat().st_size < 60_000


def test_the_interval_holds_the_mean_and_equal_rankings_agree() -> None:
    found = estimate([0.0, 1.0] * 20)
    assert 0.3 < found.low < found.mean == 0.5 < found.high < 0.7
    lines = [
        Line(name=str(k), over_cost=estimate([float(k)]), final=found, gain=found, over_random=found, curve=(), makespan=1.0)
        for k in range(5)
    ]  # fmt: skip
    mirrored = [
        Line(name=str(4 - k), over_cost=line.over_cost, final=found, gain=found, over_random=found, curve=(), makespan=1.0)
        for k, line in enumerate(lines)
    ]  # fmt: skip
    assert concordance(lines, lines) == 1.0 and concordance(lines, mirrored) == -1.0


def test_a_winner_beats_parents_by_lot_in_every_alphabet_or_random_is_shipped() -> None:
    def line(name: str, regret: float, gain: float) -> Line:
        found, over = estimate([regret]), estimate([gain])
        return Line(name=name, over_cost=found, final=found, gain=over, over_random=over, curve=(), makespan=1.0)

    full = [line("greedy", 0.1, 0.2), line("ucb", 0.2, 0.1), line("random", 0.3, 0.0)]
    assert winner({"full": full}) == "greedy"
    assert winner({"full": full, "mixers": [line("greedy", 0.3, -0.1), line("ucb", 0.2, 0.1)]}) == "ucb"
    assert winner({"full": full, "mixers": [line("greedy", 0.3, 0.0), line("ucb", 0.2, -0.1)]}) == "random"
    said = [conclusion({"full": full}, n_rungs=r, n_seeds=s) for r, s in ((1, 1), (2, 1), (2, 2))]
    assert said[0] == "One rung, one seed: no ground for a default yet; `random` stays."
    assert said[1].startswith("2 rungs, one seed: no ground")
    assert said[2] == "Selection strategy that wins: `greedy`. The default is `random`."
