"""Ablations: one unit gone and all else as it was; what it gave, judged as a run's designs are."""

from __future__ import annotations

import json
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from genesys.evolution.ablation import Ablation, Results, ablations, compare_ablation, report
from genesys.evolution.fitness import RelativeFitness
from genesys.evolution.operators import scratch
from genesys.gau import UnitTree
from genesys.gau.library import library, seed_design, unit_named
from genesys.gau.tree import fits, split_path
from genesys.testing.books import metrics_for

UNITS = tuple(library().values())
RULE = RelativeFitness()
GPT = seed_design("gpt")


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_an_ablation_is_the_design_but_for_one_place(seed: int) -> None:
    tree = scratch(UNITS, Random(seed)).tree
    found = ablations(tree, UNITS)
    assert set(found) == {path for path, _ in tree.walk() if path}
    for path, options in found.items():
        for ablation in options:
            new = ablation.tree.at(path)
            assert ablation.tree.graft(path, tree.at(path)) == tree, "elsewhere nothing has changed"
            assert ablation.tree != tree and not ablation.tree.open_slots()
            parent, name = split_path(path)
            slot = tree.at(parent).unit.slot(name)
            assert slot is not None and fits(slot, new)
            assert ablation.replacement == new.unit.name and ablation.unit == tree.at(path).unit.name


def test_the_identity_comes_first_and_a_wrapper_gives_way_to_what_it_holds() -> None:
    options = ablations(GPT, UNITS)
    assert options["mixer"][0].replacement == "Identity"
    assert not any(a.replacement == "Attention" for a in options["mixer"])
    wrapped = GPT.wrap("mixer", unit_named("LayerScale"))
    first = ablations(wrapped, UNITS)["mixer"][0]
    assert first.tree == GPT and first.replacement == "Attention"


def test_the_identity_itself_cannot_be_taken_out() -> None:
    tree = GPT.graft("norm_mixer", UnitTree(unit_named("Identity")))
    assert ablations(tree, UNITS)["norm_mixer"] == ()


def test_an_alphabet_without_an_identity_offers_the_simplest_units_of_the_kind() -> None:
    alphabet = [unit for unit in UNITS if unit.kind != "wrapper"]
    options = ablations(GPT, alphabet)["mixer.position"]
    assert [a.replacement for a in options] == sorted(
        (u.name for u in alphabet if u.kind == "position" and not u.slots and u.name != "Rotary"),
        key=lambda name: (len(unit_named(name).source), name),
    )


def _ablation() -> Ablation:
    return ablations(GPT, UNITS)["mixer"][0]


def _runs(own: list[float], without: list[float], failed: dict[int, str] | None = None) -> dict[str, Results]:
    return {
        GPT.design_id: Results(metrics={s: metrics_for(q) for s, q in enumerate(own)}, failed={}),
        _ablation().tree.design_id: Results(
            metrics={s: metrics_for(q) for s, q in enumerate(without)}, failed=failed or {}
        ),
    }


def test_what_helps_has_a_difference_above_zero_and_a_claim_needs_three_seeds() -> None:
    ablated = _ablation().tree.design_id
    clear = compare_ablation(
        GPT.design_id, ablated, _runs([0.80, 0.81, 0.79], [0.50, 0.51, 0.49]), scale="s", rule=RULE
    )
    assert clear is not None and clear.fitness.verdict == "better" and clear.fitness.difference > 0
    bits = next(m for m in clear.metrics if m.metric == "test_bpb")
    assert bits.comparison.difference == pytest.approx(0.3) and bits.a < bits.b
    few = compare_ablation(GPT.design_id, ablated, _runs([0.8, 0.8], [0.5, 0.5]), scale="s", rule=RULE)
    assert few is not None and few.fitness.verdict == "too few seeds"
    equal = compare_ablation(GPT.design_id, ablated, _runs([0.8, 0.7, 0.6], [0.8, 0.7, 0.6]), scale="s", rule=RULE)
    assert equal is not None and equal.fitness.verdict == "not separated" and equal.fitness.difference == 0.0


def test_a_design_that_fails_without_the_unit_leads_the_report() -> None:
    other = ablations(GPT, UNITS)["channel"][0]
    runs = _runs([0.8, 0.81], [], {0: "diverged"})
    runs[other.tree.design_id] = Results(metrics={s: metrics_for(0.5) for s in range(2)}, failed={})
    found = report(
        GPT.design_id, "gpt", [other, _ablation()], runs, scale="s", rule=RULE, kept={"norm_mixer": "it is needed"}
    )
    assert [unit["path"] for unit in found["units"]] == ["mixer", "channel"]
    first, second = found["units"]
    assert first["failed"] == {"0": "diverged"} and first["fitness"] is None and first["metrics"] == []
    assert second["fitness"]["n_pairs"] == 2 and second["fitness"]["difference"] > 0
    assert found["kept"] == [{"path": "norm_mixer", "reason": "it is needed"}]
    assert UnitTree.from_json(json.loads(json.dumps(found))["units"][0]["tree"]) == _ablation().tree


def test_a_later_seed_that_failed_withholds_a_claim_in_its_favour() -> None:
    runs = _runs([0.5, 0.51, 0.49, 0.5], [0.8, 0.81, 0.79], {3: "diverged"})
    found = compare_ablation(GPT.design_id, _ablation().tree.design_id, runs, scale="s", rule=RULE)
    assert found is not None and found.failed_b == (3,) and found.fitness.verdict == "not separated"
