"""Designs against each other: pairs from the books, the leaderboard's luck, winners and groups."""

from __future__ import annotations

from collections.abc import Mapping
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from genesys.errors import ConfigError
from genesys.evolution import EvolutionTree, leaderboard
from genesys.evolution.comparison import compare_designs, paired_runs
from genesys.evolution.events import LeaseGranted, VerificationRecorded
from genesys.evolution.fitness import PaperFitness
from genesys.evolution.leaderboard import lead_of_best
from genesys.evolution.listings import list_comparison, list_groups, list_leaders, list_winners
from genesys.evolution.votes import absent_as
from genesys.evolution.winners import group_contest, task_winners
from tests.evolution.replicates import BASE, replicated

METRICS = {"test_bpb": -1, "probe_recall": 1}


def runs(bpb: float, recall: float, n: int, *, noise: float = 0.01, seed: int = 0) -> list[dict[str, float]]:
    """Training seeds share their noise between designs, as common batches do; a little is each design's own."""
    own, found = Random(seed), []
    for k in range(n):
        shared = Random(1000 + k).gauss(0, noise)
        found.append({
            "test_bpb": bpb + shared + own.gauss(0, 0.1 * noise), "probe_recall": recall + own.gauss(0, 0.1 * noise),
            "probe_recall_chance": 0.0625, "probe_recall_se": 0.005,
        })  # fmt: skip
    return found


@pytest.fixture
def tree() -> EvolutionTree:
    designs = {
        "gpt": runs(2.5, 0.9, 5), "good": runs(2.3, 0.9, 5, seed=1), "twin": runs(2.5, 0.9, 5, seed=2), "new": runs(2.4, 0.9, 1),
    }  # fmt: skip
    return replicated(designs)[0]


def test_pairs_cancel_what_both_trainings_share(tree: EvolutionTree) -> None:
    found = compare_designs(tree, "good", "gpt", "small", metrics=METRICS, best_of=1)
    assert found.seeds == (0, 1, 2, 3, 4) and found.fitness.verdict == "better"
    bits, recall = found.metrics
    assert bits.a == pytest.approx(2.3, abs=0.02) and bits.comparison.difference == pytest.approx(0.2, abs=0.005)
    assert bits.comparison.deviation is not None and bits.comparison.deviation < 0.004, "a tenth of the noise is left"
    assert bits.comparison.verdict == "better" and bits.comparison.best_of == 2, "each corrected for both metrics"
    assert recall.comparison.verdict == "not separated"
    other = compare_designs(tree, "gpt", "good", "small", metrics=METRICS, best_of=1)
    assert other.fitness.verdict == "worse" and other.fitness.p_value == pytest.approx(found.fitness.p_value)


def test_equal_designs_are_not_separated(tree: EvolutionTree) -> None:
    assert compare_designs(tree, "twin", "gpt", "small", metrics=METRICS).fitness.verdict == "not separated"


def test_one_seed_claims_nothing_and_forecasts(tree: EvolutionTree) -> None:
    found = compare_designs(tree, "new", "gpt", "small", metrics=METRICS).fitness
    assert (found.n_pairs, found.verdict, found.low) == (1, "too few seeds", None)
    assert found.n_more is not None and found.n_more >= 2


def test_the_leader_pays_for_having_been_picked(tree: EvolutionTree) -> None:
    assert compare_designs(tree, "good", "gpt", "small", metrics=METRICS).fitness.best_of == 4
    assert compare_designs(tree, "twin", "gpt", "small", metrics=METRICS).fitness.best_of == 1


def test_a_design_that_fails_with_some_seed_is_not_better() -> None:
    """Law 7: the seeds at which it failed are not averaged away."""
    shaky = [*runs(2.0, 0.9, 4, seed=1), None]
    tree, _ = replicated({"gpt": runs(2.5, 0.9, 5), "shaky": shaky})
    found = compare_designs(tree, "shaky", "gpt", "small", metrics=METRICS, best_of=1)
    bits = found.metrics[0].comparison
    for claim in (found.fitness, bits):
        assert claim.p_value <= 0.05 and claim.verdict == "not separated" and claim.n_more is None
    assert found.failed_a == (4,)
    other = compare_designs(tree, "gpt", "shaky", "small", metrics=METRICS, best_of=1)
    assert other.fitness.verdict == other.metrics[0].comparison.verdict == "not separated"
    row = next(row for row in leaderboard(tree) if row.design == "shaky")
    assert row.against_reference is not None and row.against_reference.verdict == "not separated"


def test_a_design_that_fails_with_some_seed_may_be_worse() -> None:
    tree, _ = replicated({"gpt": runs(2.0, 0.9, 5), "shaky": [*runs(2.5, 0.9, 4, seed=1), None]})
    found = compare_designs(tree, "shaky", "gpt", "small", metrics=METRICS, best_of=1)
    assert found.fitness.verdict == found.metrics[0].comparison.verdict == "worse"


def test_a_probe_that_a_design_lacks_counts_as_chance() -> None:
    lacking = [{key: v for key, v in run.items() if not key.startswith("probe")} for run in runs(2.5, 0.9, 5, seed=1)]
    tree, _ = replicated({"gpt": runs(2.5, 0.9, 5), "lacking": lacking})
    recall = list_comparison(tree, "lacking", "gpt", best_of=1)["metrics"][1]
    assert (recall["metric"], recall["a"], recall["n_pairs"], recall["verdict"]) == ("probe_recall", 0.0625, 5, "worse")
    recall = list_comparison(tree, "gpt", "lacking", best_of=1)["metrics"][1]
    assert recall["b"] == 0.0625 and recall["verdict"] == "better"


def test_a_result_below_chance_is_not_worse_than_none() -> None:
    designs = {"gpt": [tasks(0.1, 0.6)] * 4, "x": [tasks(0.1, 0.6, lack="task_arc")] * 4}
    arc = list_comparison(replicated(designs)[0], "x", "gpt", best_of=1)["metrics"][1]
    assert (arc["metric"], arc["a"], arc["verdict"]) == ("task_arc", 0.25, "not separated") and arc["difference"] > 0


@given(st.sets(st.integers(0, 4), min_size=1, max_size=2), st.sampled_from(["latency", "probe_recall"]))
def test_a_design_is_not_better_by_a_metric_that_it_lacks_at_some_seed(lost: set[int], metric: str) -> None:
    """Law 7: the seeds at which it is bad could be left out."""
    good = [{"latency": 1.0, "probe_recall": 0.99, "probe_recall_chance": 0.0} for _ in range(5)]
    poor = [{"latency": 2.0, "probe_recall": 0.01, "probe_recall_chance": 0.0} for _ in range(5)]
    fewer = [{key: v for key, v in run.items() if k not in lost or key != metric} for k, run in enumerate(good)]
    tree, _ = replicated({"gpt": poor, "whole": good, "fewer": fewer})
    metrics = {metric: -1 if metric == "latency" else 1}

    def verdict(a: str, b: str) -> str:
        found = compare_designs(tree, a, b, "small", metrics=metrics, best_of=1, absent_as=absent_as)
        return found.metrics[0].comparison.verdict

    assert (verdict("whole", "gpt"), verdict("gpt", "whole")) == ("better", "worse")
    assert verdict("fewer", "gpt") == verdict("gpt", "fewer") != "better"
    assert verdict("fewer", "gpt") in ("not separated", "too few seeds")


def test_runs_of_different_recipes_are_no_pairs(tree: EvolutionTree) -> None:
    tree.apply(LeaseGranted(lease=99, design="new", scale="small", holder="h", seed=1, recipe="other"))
    recorded = VerificationRecorded(
        lease=99, design="new", scale="small", seed=1, recipe="other", metrics=BASE, report=""
    )
    tree.apply(recorded)
    assert [x.seed for x, _ in paired_runs(tree.record("new"), tree.record("gpt"), "small")] == [0]


def test_what_cannot_be_compared_is_said_in_one_sentence(tree: EvolutionTree) -> None:
    with pytest.raises(ConfigError, match="Cannot compare 'gpt' with itself"):
        list_comparison(tree, "gpt", "gpt")
    with pytest.raises(ConfigError, match="Did you mean 'small'"):
        list_comparison(tree, "gpt", "good", "smal")
    apart, _ = replicated({"gpt": runs(2.5, 0.9, 1), "x": []})
    with pytest.raises(ConfigError, match=r"no training seed in common \(x: none; gpt: 0\)"):
        list_comparison(apart, "x", "gpt")


def test_rows_say_how_many_seeds_and_claim_only_what_pairs_support(tree: EvolutionTree) -> None:
    rows = {row["design"]: row for row in list_leaders(tree)}
    assert rows["good"]["n_seeds"] == 5 and rows["good"]["against_reference"]["verdict"] == "better"
    assert rows["good"]["against_reference"]["best_of"] == 3, "three designs stand against the reference"
    assert rows["new"]["n_seeds"] == 1 and rows["new"]["against_reference"]["verdict"] == "too few seeds"
    assert rows["gpt"]["against_reference"] is None


def test_the_lead_of_the_best_stands_beside_that_of_luck() -> None:
    designs = {"gpt": runs(2.5, 0.9, 1)} | {f"d{k}": runs(2.5, 0.9, 1, seed=k) for k in range(9)}
    lead = lead_of_best(replicated(designs)[0])
    assert lead is not None and lead.n_designs == 10 and lead.n_seeds == 1
    assert 0 < lead.luck < lead.luck_95 and lead.lead < lead.luck_95, "equal designs"
    lead = lead_of_best(replicated(designs | {"far": runs(1.5, 0.9, 1)})[0])
    assert lead is not None and lead.design == "far" and lead.lead > lead.luck_95
    assert lead_of_best(replicated({"gpt": runs(2.5, 0.9, 1)})[0]) is None
    assert lead_of_best(replicated({})[0]) is None


def tasks(arc: float, blimp: float, *, lack: str = "") -> dict[str, float]:
    found = {
        "task_arc": arc, "task_arc_se": 0.02, "task_arc_chance": 0.25, "task_arc_majority": 0.26,
        "task_blimp": blimp, "task_blimp_chance": 0.5, "task_blimp_majority": 0.5, "task_blimp_prob": blimp,
        "task_blimp_prob_se": 0.01,
    }  # fmt: skip
    return {key: value for key, value in found.items() if not lack or not key.startswith(lack)}


def test_the_highest_on_each_task_is_not_the_single_best() -> None:
    designs: Mapping[str, list[dict[str, float]]] = {
        "gpt": [tasks(0.30, 0.6)], "x": [tasks(0.35, 0.6)], "y": [tasks(0.30, 0.7)], "z": [tasks(0.2, 0.7, lack="task_arc")],
    }  # fmt: skip
    tree, _ = replicated(designs)
    arc, blimp = task_winners(tree, "small")
    assert (arc.vote, arc.design, arc.accuracy, arc.chance, arc.majority) == ("task_arc", "x", 0.35, 0.25, 0.26)
    assert (blimp.vote, blimp.value) == ("task_blimp_prob", 0.7)
    assert arc.luck > 0 and arc.n_designs == 4
    assert arc.against_reference is not None and arc.against_reference.verdict == "too few seeds"
    assert arc.against_reference.best_of == 3 * 2, "designs times tasks"
    assert [row["name"] for row in list_winners(tree)] == ["x", "y"]


def test_a_design_without_a_result_wins_no_task_of_bad_results() -> None:
    tree, _ = replicated({"gpt": [tasks(0.1, 0.6)], "x": [tasks(0.2, 0.6, lack="task_arc")]})
    assert task_winners(tree, "small")[0].design == "gpt"


def test_a_winner_that_failed_or_lacks_the_task_with_some_seed_is_not_better() -> None:
    """Law 7, task by task."""
    good, poor, lacking = tasks(0.9, 0.6), tasks(0.3, 0.6), tasks(0.9, 0.6, lack="task_arc")
    for last, verdict in ((good, "better"), (None, "not separated"), (lacking, "not separated")):
        tree, _ = replicated({"gpt": [poor] * 5, "x": [good, good, good, good, last]})
        arc = task_winners(tree, "small")[0]
        assert arc.design == "x" and arc.against_reference is not None and arc.against_reference.verdict == verdict


def test_a_large_group_wins_by_its_size_alone() -> None:
    rng = Random(3)
    designs = {"gpt": [many(rng)], "y": [many(rng)]} | {f"d{k}": [many(rng)] for k in range(10)}
    tree, _ = replicated(designs, seeds=("gpt", "y"))
    few, crowd = group_contest(tree, "small", {"few": ["gpt", "y"], "crowd": [f"d{k}" for k in range(10)]})
    assert few.wins + crowd.wins == 20 and crowd.wins > few.wins
    assert crowd.expected_wins == pytest.approx(20 * 10 / 12, abs=0.5), "shares of the designs"
    assert crowd.p_value > 0.05 and few.p_value > 0.05
    assert [group["name"] for group in list_groups(tree)] == ["seeds", "discovered"]


def test_a_group_that_is_truly_ahead_is_seen() -> None:
    rng = Random(4)
    designs = {f"s{k}": [many(rng)] for k in range(5)} | {f"d{k}": [many(rng, up=0.2)] for k in range(5)}
    tree, _ = replicated(designs, seeds=[f"s{k}" for k in range(5)], reference="s0")
    ahead = next(group for group in list_groups(tree) if group["name"] == "discovered")
    assert ahead["wins"] > 15 and ahead["p_value"] < 0.05 and ahead["n_seeds"] == 1


def many(rng: Random, up: float = 0.0) -> dict[str, float]:
    return {f"task_t{k}": 0.3 + up + 0.1 * rng.random() for k in range(20)}


def test_the_papers_fitness_is_compared_too() -> None:
    designs = {
        "gpt": [tasks(0.30 + k / 1000, 0.6) for k in range(5)],
        "x": [tasks(0.40, 0.7 + k / 900) for k in range(5)],
    }
    tree, _ = replicated(designs, rule=PaperFitness())
    found = compare_designs(tree, "x", "gpt", "small", metrics={}, best_of=1).fitness
    assert found.difference == pytest.approx(0.1, abs=0.01) and found.verdict == "better"
