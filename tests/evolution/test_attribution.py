"""What operators earned: gains over parents, weighted by the odds at which they were drawn."""

from __future__ import annotations

from random import Random
from statistics import fmean, stdev

import pytest

from genesys.evolution.attribution import attribute, gain_over_parents
from genesys.evolution.inference import t_quantile
from tests.evolution.families import add, open_family


def test_a_gain_is_over_the_better_parent_at_the_same_scale() -> None:
    tree = open_family()
    add(tree, "a", 0.2, is_seed=True, operator="seed")
    add(tree, "b", 0.5, operator="scratch")
    add(tree, "child", 0.6, "a", "b", operator="crossover")
    add(tree, "child", 0.9, scale="middle")
    add(tree, "a", 0.3, scale="middle")
    found = {effect.name: effect for effect in attribute(tree).operators}
    assert found["crossover"].gain == pytest.approx(0.1) and found["crossover"].low is None
    above = {effect.name: effect for effect in attribute(tree, "middle").operators}
    assert above["crossover"].gain == pytest.approx(0.6), "only one parent is rated there"
    assert found["scratch"].n == 0 and found["scratch"].gain is None and found["scratch"].n_proposed == 1
    assert "seed" not in found, "nobody drew the seeds"
    fitness = tree.ratings.fitness
    assert gain_over_parents(("a", "b"), fitness("child"), fitness) == pytest.approx(0.1)
    assert gain_over_parents((), fitness("child"), fitness) is None


def test_the_rejected_count_as_proposed_and_twins_gain_what_they_inherit() -> None:
    tree = open_family()
    add(tree, "a", 0.5)
    add(tree, "bad", None, "a", edit="wrap", rejected=True)
    add(tree, "same", None, "a", edit="wrap", twin_of="a")
    add(tree, "fine", 0.8, "a", edit="wrap")
    add(tree, "late", None, "a", edit="wrap")
    (effect,) = [e for e in attribute(tree).edits if e.name == "mutation/wrap"]
    assert (effect.n_proposed, effect.n_sane, effect.n_twins, effect.n, effect.n_better) == (4, 3, 1, 2, 1)
    assert effect.gain == pytest.approx(0.15)


def test_the_interval_is_students_where_all_were_drawn_alike() -> None:
    tree, rng = open_family(), Random(0)
    add(tree, "a", 0.5)
    gains = [rng.gauss(0.05, 0.02) for _ in range(20)]
    for i, gain in enumerate(gains):
        add(tree, f"c{i}", 0.5 + gain, "a", odds={"mutation": 0.75, "scratch": 0.25})
    (effect,) = attribute(tree).operators
    half = t_quantile(19) * stdev(gains) / 20**0.5
    assert effect.gain == pytest.approx(fmean(gains)) and effect.n_effective == pytest.approx(20)
    assert (effect.low, effect.high) == pytest.approx((fmean(gains) - half, fmean(gains) + half))


def test_an_operator_gets_no_credit_for_easy_times() -> None:
    """Both gain alike at any time; one was drawn when gains were easy, the other when they were not."""
    tree, rng = open_family(), Random(1)
    add(tree, "a", 0.5)
    for i in range(2000):
        easy = i < 1000
        odds = {"mutation": 0.9, "crossover": 0.1} if easy else {"mutation": 0.1, "crossover": 0.9}
        operator = rng.choices(tuple(odds), tuple(odds.values()))[0]
        value = 0.5 + (0.2 if easy else -0.2) + rng.gauss(0, 0.05)
        add(tree, f"c{i}", value, "a", operator=operator, odds=odds, edit="e")
    found = attribute(tree)
    for effect in found.operators:
        raw = fmean(
            tree.ratings.fitness(r.id)["small"].value - 0.5 for r in tree if r.operator == effect.name and r.parents
        )
        if effect.n_proposed > 500 and effect.name == "crossover":
            assert raw < -0.1
        assert effect.low is not None and effect.high is not None and effect.gain is not None
        assert abs(effect.gain) < 0.06 and effect.low < 0 < effect.high
    assert [e.name for e in found.edits] == ["crossover/e", "mutation/e"]


def test_intervals_hold_what_they_promise() -> None:
    """Of 300 small samples at mixed odds, about 95% of intervals cover the true gain."""
    rng, covered = Random(2), 0
    for _ in range(300):
        tree = open_family()
        add(tree, "a", 0.5)
        for i in range(12):
            share = rng.choice((0.3, 0.6))
            add(tree, f"c{i}", 0.5 + rng.gauss(0.05, 0.03), "a", odds={"mutation": share, "scratch": 1 - share})
        (effect,) = attribute(tree).operators
        assert effect.low is not None and effect.high is not None
        covered += effect.low < 0.05 < effect.high
    assert covered >= 270


def test_steps_are_averaged_and_grouped() -> None:
    tree = open_family()
    add(tree, "a", 0.5)
    for i, step in enumerate((1.0, 1.0, 1.0, 2.0, 2.5, 3.0, 7.0, 8.0, 9.0)):
        steps = {"tree": step, "seed": 2 * step} | ({"behaviour": 0.5} if i % 2 else {})
        add(tree, f"c{i}", 0.5 + step / 100, "a", steps=steps, edit="wrap")
    found = attribute(tree)
    assert found.operators[0].steps == pytest.approx({"tree": 34.5 / 9, "seed": 69 / 9, "behaviour": 0.5})
    assert [(e.name, e.n) for e in found.step_groups] == [("up to 1", 3), ("1 to 3", 3), ("3 to 9", 3)]
    gains = [e.gain for e in found.step_groups]
    assert gains == pytest.approx([0.01, 0.025, 0.08])


def test_a_run_without_proposals_has_nothing_to_tell() -> None:
    found = attribute(open_family())
    assert found.operators == found.edits == found.step_groups == ()
