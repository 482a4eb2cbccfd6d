"""Fitness: the formula, its intervals, its axis across scales, and who leads."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from genesys.errors import ConfigError
from genesys.evolution import leaderboard
from genesys.evolution.events import LeaseGranted, VerificationFailed
from genesys.evolution.fitness import PaperFitness, RelativeFitness, resolve_fitness
from genesys.evolution.rating import Frame, Rating, frame_of
from genesys.evolution.votes import accuracies, score_of, votes
from genesys.testing import add_design, metrics_for, start_tree, verify

REFERENCE = {"test_bpb": 2.0, "unigram_bpb": 4.0, "probe_recall": 1.0, "probe_recall_chance": 0.5, "probe_copy": 0.5}


def test_the_reference_itself_has_half_for_bits_and_half_for_its_probes() -> None:
    rating = RelativeFitness().rater([REFERENCE])([REFERENCE])
    assert rating.raw == pytest.approx(0.5 * 1.0 + 0.5 * (1.0 + 0.5) / 2) and rating.anchored


def test_bits_count_relative_to_the_gain_of_the_reference() -> None:
    better = REFERENCE | {"test_bpb": 1.0}  # gains 3 bits where the reference gains 2
    assert RelativeFitness().rater([REFERENCE])([better]).raw - RelativeFitness().rater([REFERENCE])(
        [REFERENCE]
    ).raw == (pytest.approx(0.5 * (1.5 - 1.0)))


def test_a_missing_probe_counts_as_chance() -> None:
    fewer = {k: v for k, v in REFERENCE.items() if not k.startswith("probe_copy")}
    rule = RelativeFitness()
    assert rule.rater([REFERENCE])([fewer]).raw == rule.rater([REFERENCE])([REFERENCE | {"probe_copy": 0.0}]).raw
    assert rule.rater([REFERENCE])([fewer]).raw < rule.rater([REFERENCE])([REFERENCE]).raw


@given(accuracy=st.floats(0, 1), chance=st.floats(0, 0.9))
def test_probe_scores_put_chance_at_0_and_perfection_at_1(accuracy: float, chance: float) -> None:
    metrics = {"probe_x": accuracy, "probe_x_chance": chance}
    assert score_of(metrics, "probe_x") <= 1.0 + 1e-9
    assert score_of(metrics | {"probe_x": chance}, "probe_x") == pytest.approx(0.0)
    assert score_of(metrics | {"probe_x": 1.0}, "probe_x") == pytest.approx(1.0)


TASKS = {
    "task_arc": 0.5, "task_arc_se": 0.04, "task_arc_chance": 0.25, "task_arc_majority": 0.3,
    "task_arc_prob": 0.4, "task_arc_prob_se": 0.03,
    "task_gsm8k": 0.1, "task_gsm8k_se": 0.02, "task_gsm8k_chance": 0.0, "task_gsm8k_majority": 0.05,
}  # fmt: skip


def test_likelihoods_rank_where_they_are_compared_and_accuracies_elsewhere() -> None:
    assert votes(REFERENCE, TASKS) == ("probe_copy", "probe_recall", "task_arc_prob", "task_gsm8k")
    assert accuracies(REFERENCE | TASKS) == ("task_arc", "task_gsm8k")
    assert accuracies(REFERENCE) == ("probe_copy", "probe_recall"), "probes when there are no tasks"


def test_probes_and_tasks_have_one_vote_each() -> None:
    both = REFERENCE | TASKS
    rating = RelativeFitness(seed_deviation=0.0).rater([both])([both])
    assert rating.raw == pytest.approx(0.5 * 1.0 + 0.5 * (1.0 + 0.5 + 0.15 / 0.75 + 0.1) / 4)
    assert rating.half_width == pytest.approx(1.959964 * math.sqrt(0.25 * ((0.03 / 0.75) ** 2 + 0.02**2) / 16))


def test_accuracy_does_not_stand_in_for_a_likelihood_that_a_design_lacks() -> None:
    lacking = {k: v for k, v in (REFERENCE | TASKS).items() if "_prob" not in k} | {"task_arc": 1.0}
    chance = REFERENCE | TASKS | {"task_arc_prob": 0.25}
    rule = RelativeFitness()
    assert rule.rater([REFERENCE | TASKS])([lacking]).raw == rule.rater([REFERENCE | TASKS])([chance]).raw


@pytest.mark.parametrize("rule", [RelativeFitness(), PaperFitness()])
@given(
    values=st.fixed_dictionaries({k: st.floats(0, 1) for k in (*TASKS, "probe_copy", "probe_recall")}), data=st.data()
)
def test_a_design_is_never_better_for_having_fewer_results(
    rule: RelativeFitness | PaperFitness, values: dict[str, float], data: st.DataObject
) -> None:
    """Law 7, also for results below chance."""
    chances = {k: 0.9 * v for k, v in values.items() if k.endswith("_chance")}
    whole = REFERENCE | TASKS | values | chances
    lost = data.draw(st.sets(st.sampled_from(sorted({"task_arc", "task_gsm8k", "probe_copy", "probe_recall"}))))
    fewer = {k: v for k, v in whole.items() if not any(k.startswith(name) for name in lost)}
    reference = [REFERENCE | TASKS]
    assert rule.rater(reference)([fewer]).raw <= rule.rater(reference)([whole]).raw + 1e-12


def test_the_interval_adds_up_the_errors_and_the_seed_deviation() -> None:
    rule = RelativeFitness(seed_deviation=0.1)
    noisy = REFERENCE | {"test_bpb_se": 0.2, "probe_recall_se": 0.05}
    variance = 0.25 * (0.2 / 2.0) ** 2 + 0.25 * (0.05 / 0.5) ** 2 / 4 + 0.1**2
    assert rule.rater([REFERENCE])([noisy]).half_width == pytest.approx(1.959964 * math.sqrt(variance))
    twice = rule.rater([REFERENCE])([noisy, noisy]).half_width
    assert twice == pytest.approx(1.959964 * math.sqrt(variance / 2)), "replicates narrow it"


def test_replicates_of_the_reference_replace_the_assumed_deviation() -> None:
    other = REFERENCE | {"test_bpb": 2.1}
    width = RelativeFitness(seed_deviation=9.0).rater([REFERENCE, other])([REFERENCE]).half_width
    assert 0 < width < 0.1


def test_without_a_reference_gains_are_relative_to_unigram_bits_and_marked() -> None:
    alone = RelativeFitness().rater(None)([REFERENCE])
    assert not alone.anchored and alone.raw == pytest.approx(0.5 * 2.0 / 4.0 + 0.5 * 0.75)


@pytest.mark.parametrize("bpb", [3.7, 3.999, 4.0, 4.5])
def test_a_reference_that_has_hardly_learned_does_not_blow_gains_up(bpb: float) -> None:
    poor = REFERENCE | {"test_bpb": bpb}
    rating = RelativeFitness().rater([poor])([REFERENCE])
    assert rating.anchored and rating.raw == pytest.approx(0.5 * 2.0 / 0.4 + 0.5 * 0.75), "the unit is 10% of 4 bits"


@pytest.mark.parametrize(
    ("metrics", "message"),
    [
        ({"test_bpb": 2.0}, "metric 'unigram_bpb' is None; expected above 0"),
        (REFERENCE | {"anything": math.nan}, "metric 'anything' is nan; expected a finite number"),
        (REFERENCE | {"probe_copy": 1.5}, "probe 'copy' is 1.5; expected within 0..1"),
        (REFERENCE | {"probe_copy_chance": 1.0}, "chance below 1"),
        (REFERENCE | TASKS | {"task_arc_prob": -0.1}, "task 'arc_prob' is -0.1; expected within 0..1"),
        (REFERENCE | TASKS | {"task_gsm8k_se": -1.0}, "task 'gsm8k' has a standard error of -1.0"),
    ],
)
def test_metrics_that_cannot_be_rated_are_refused(metrics: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        RelativeFitness().check(metrics)


def test_niches_follow_the_recall_probes() -> None:
    rule = RelativeFitness()
    assert rule.niche({"probe_recall": 0.9}) == "recall" and rule.niche({"probe_recall": 0.89}) == "no-recall"
    assert rule.niche({"probe_mqar": 0.95}) == "recall" and rule.niche({"probe_copy": 1.0}) == ""


def test_harder_kinds_of_recall_make_no_niche() -> None:
    rule, others = RelativeFitness(), {"probe_fuzzy_recall": 1.0, "probe_noisy_recall": 1.0}
    assert rule.niche(others) == "" and rule.niche(others | {"probe_recall": 0.5}) == "no-recall"
    assert rule.niche(dict.fromkeys(others, 0.1) | {"probe_recall": 0.95}) == "recall"


def test_the_axis_has_the_reference_at_0_and_the_spread_of_the_seeds_as_unit() -> None:
    seeds = [Rating(raw=r) for r in (1.0, 1.2, 1.4)]
    frame = frame_of(seeds[0], seeds, None)
    assert frame.centre == 1.0 and frame.spread == pytest.approx(0.2)
    assert frame.place(Rating(raw=1.4, half_width=0.1)).value == pytest.approx(2.0)
    assert frame_of(seeds[0], seeds[:2], Frame(spread=0.7)).spread == 0.7, "too few seeds: the scale below"
    assert frame_of(None, [], None) == Frame(centre=0.0, spread=1.0)


def test_designs_are_unrated_until_the_reference_is_measured() -> None:
    tree = start_tree(reference="ref")
    add_design(tree, "ref", is_seed=True)
    add_design(tree, "x")
    verify(tree, "x", "small", 0.9)
    assert leaderboard(tree) == [] and not tree.population().rated
    verify(tree, "ref", "small", 0.5)
    assert [row.design for row in leaderboard(tree)] == ["x", "ref"]
    assert leaderboard(tree)[1].fitness.value == 0.0


def test_designs_are_rated_without_a_reference_that_failed() -> None:
    tree = start_tree(reference="ref")
    add_design(tree, "ref", is_seed=True)
    add_design(tree, "x")
    verify(tree, "x", "small", 0.9)
    tree.apply(LeaseGranted(lease=8, design="ref", scale="small", holder="h"))
    tree.apply(VerificationFailed(lease=8, design="ref", scale="small", cause="non-finite"))
    assert [row.design for row in leaderboard(tree)] == ["x"]
    assert not leaderboard(tree)[0].fitness.anchored


def test_the_highest_rung_leads_whatever_the_fitness_below() -> None:
    """Law 7: a design is never better for having been verified at fewer scales."""
    tree = start_tree(reference="ref")
    for name in ("ref", "low", "high"):
        add_design(tree, name, is_seed=name == "ref")
        verify(tree, name, "small", {"ref": 0.5, "low": 0.95, "high": 0.6}[name])
    verify(tree, "ref", "middle", 0.5)
    verify(tree, "high", "middle", 0.1)
    rows = leaderboard(tree)
    assert [(row.place, row.design, row.scale) for row in rows] == [
        (1, "ref", "middle"), (2, "high", "middle"), (3, "low", "small"),
    ]  # fmt: skip
    assert rows[1].fitness.low < rows[1].fitness.value < rows[1].fitness.high
    assert rows[1].metrics == metrics_for(0.1) and leaderboard(tree, limit=1) == rows[:1]


def test_the_papers_fitness_is_the_plain_mean_of_accuracies() -> None:
    tree = start_tree(reference="", rule=PaperFitness())
    add_design(tree, "x")
    verify(tree, "x", "small", 0.9)
    assert leaderboard(tree)[0].fitness.value == pytest.approx(0.95)
    only_tasks = TASKS | {"task_arc": 0.5, "probe_recall": 0.99}
    assert PaperFitness().rater(None)([only_tasks]).raw == pytest.approx((0.5 + 0.1) / 2), "tasks alone, by accuracy"
    with pytest.raises(ValueError, match="there is no accuracy"):
        PaperFitness().check({"test_bpb": 1.0})


def test_rules_are_found_by_name() -> None:
    assert resolve_fitness() == RelativeFitness() and resolve_fitness("paper") == PaperFitness()
    with pytest.raises(ConfigError, match="Did you mean 'paper'"):
        resolve_fitness("papr")
