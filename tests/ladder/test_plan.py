"""Plans: the paper's own figures, what a simulated ladder must obey, and every configuration that ships."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from genesys.ladder import LADDERS, PAPER_SCALES, Ladder, Workload, load_hardware, plan_run
from genesys.ladder.budget import Caps
from genesys.ladder.cost import questions_of
from genesys.ladder.plan import binding_caps, makespan_s

WALL_CLOCK_S = (174, 437, 22 * 60, 146 * 60, 17 * 3600, 54 * 3600, 138 * 3600)
"""Of the published implementation, at 20 tokens per parameter on eight A6000."""
REFERENCE_PARAMS = (5_280_384, 12_920_064, 35_277_312, 109_566_720, 334_906_368, 728_851_968, 1_273_792_512)
PAPER = Workload(ladder=LADDERS["paper"], vocab_size=32_000, n_verifiers=8)


def test_the_papers_hours_come_out() -> None:
    """38,000 H100-hours for all designs at 350M, 1,100 with the ladder; 37,800 and 1,073 by its own table."""
    plan = plan_run(PAPER, load_hardware()["reference"])
    assert plan.without_ladder_hours == pytest.approx(37_778, abs=1)
    assert plan.device_hours == pytest.approx(1_072.8, abs=0.1)
    assert plan.usd == pytest.approx(1_072.8 * 3.0, rel=1e-3)


@pytest.mark.parametrize(
    ("scale", "n_params", "seconds"), zip(PAPER_SCALES, REFERENCE_PARAMS, WALL_CLOCK_S, strict=True)
)
def test_the_reference_is_its_wall_clock_table(scale, n_params: int, seconds: float) -> None:  # type: ignore[no-untyped-def]
    speed = load_hardware()["reference"].pretraining_tokens_per_s(scale, 32_000)
    assert 20 * n_params / speed == pytest.approx(seconds * 8 / 3.6, rel=1e-4)


def test_the_papers_ladder_keeps_few_verifiers_busy() -> None:
    """334 verifier-hours with a critical path of 20: a thousand verifiers cannot be busy."""
    seconds, quotas = WALL_CLOCK_S[:5], LADDERS["paper"].quotas
    work_s = sum(s * q for s, q in zip(seconds, quotas, strict=True))
    assert (work_s / 3600, sum(seconds) / 3600) == (pytest.approx(334, abs=1), pytest.approx(20, abs=0.1))
    assert makespan_s(seconds, quotas, 1000) == sum(seconds)
    stretch = {n: makespan_s(seconds, quotas, n) / max(work_s / n, sum(seconds)) for n in (2, 4, 8, 16)}
    assert stretch[2] <= 1.01 and stretch[4] <= 1.05
    assert stretch[8] >= 1.2 and stretch[16] >= 1.5, "the last run at the top waits for all below, and runs 17 h alone"


@settings(max_examples=200, deadline=None)
@given(
    rungs=st.lists(st.tuples(st.floats(0.1, 100.0), st.integers(0, 12), st.integers(1, 3)), min_size=1, max_size=4),
    n_verifiers=st.integers(1, 9),
)
def test_a_simulated_ladder_lies_between_its_bounds(rungs: list[tuple[float, int, int]], n_verifiers: int) -> None:
    seconds = [s for s, _, _ in rungs]
    quotas = sorted((q for _, q, _ in rungs), reverse=True)
    seeds = [k for _, _, k in rungs]
    work_s = sum(s * q * k for s, q, k in zip(seconds, quotas, seeds, strict=True))
    critical_s = sum(s * (1 + (k > 1)) for s, q, k in zip(seconds, quotas, seeds, strict=True) if q)
    span = makespan_s(seconds, quotas, n_verifiers, seeds)
    lower = max(work_s / n_verifiers, sum(s for s, q in zip(seconds, quotas, strict=True) if q))
    assert lower * (1 - 1e-9) <= span <= (work_s / n_verifiers + critical_s) * (1 + 1e-9)
    assert makespan_s(seconds, quotas, 1, seeds) == pytest.approx(work_s), "one verifier never idles"


def test_rungs_add_up() -> None:
    questions = {"14M": questions_of({"blimp": 100})}
    plan = plan_run(replace(PAPER, questions=questions, training_seeds={"350M": 3}), load_hardware()["H200"])
    top, bottom = plan.rungs[-1], plan.rungs[0]
    assert (top.n_designs, top.n_replicates, bottom.n_replicates) == (5, 10, 0)
    assert bottom.eval_s > 0 == top.eval_s
    assert bottom.probe_s > 0 == top.probe_s, "a design is probed once"
    assert plan.device_hours == pytest.approx(sum(r.seconds * r.n_runs for r in plan.rungs) / 3600)
    assert plan.makespan_s >= max(plan.device_hours * 3600 / 8, plan.critical_path_s)
    assert plan.busy_share == pytest.approx(plan.device_hours * 3600 / 8 / plan.makespan_s)
    assert plan.disk_bytes == plan.shards_bytes + plan.weights_bytes + plan.checkpoint_bytes
    assert plan.shards_bytes == 2 * PAPER_SCALES[4].n_tokens
    assert plan_run(replace(PAPER, corpus_tokens=10**9), load_hardware()["H200"]).shards_bytes == 2 * 10**9
    assert plan.fits and plan.to_json()["rungs"][4]["n_designs"] == 5


def test_cards_are_shared_and_joined() -> None:
    h100 = load_hardware()["H100"]
    one, quarter, eight = (plan_run(replace(PAPER, cards=cards), h100) for cards in (1.0, 0.25, 8.0))
    assert quarter.rungs[0].train_s == pytest.approx(4 * one.rungs[0].train_s)
    assert eight.rungs[0].train_s == pytest.approx(one.rungs[0].train_s / 8)
    assert quarter.n_devices == 2 and eight.n_devices == 64
    assert eight.device_hours > one.device_hours, "seven cards wait while one process starts"


def test_what_does_not_fit_is_said() -> None:
    large = Workload(ladder=Ladder(PAPER_SCALES[-1:], (1,)), vocab_size=32_000, n_verifiers=1)
    fits = {name: plan_run(large, hardware).fits for name, hardware in load_hardware().items()}
    assert fits["H100"] and fits["A6000"] and not fits["CPU"]


def test_an_empty_ladder_takes_no_time() -> None:
    plan = plan_run(replace(PAPER, ladder=Ladder(PAPER_SCALES[:1], (0,))), load_hardware()["H100"])
    assert (plan.makespan_s, plan.device_hours, plan.busy_share, plan.checkpoint_bytes) == (0, 0, 0, 0)


def test_a_cap_binds_once_it_is_below_what_the_quotas_take() -> None:
    plan = plan_run(replace(PAPER, training_seeds={"14M": 2}), load_hardware()["H100"])
    n_tokens = sum(rung.cost.n_tokens * (rung.n_designs + rung.n_replicates) for rung in plan.rungs)
    hours = plan.device_hours
    exact = Caps(
        runs=2595, tokens=n_tokens, gpu_seconds=hours * 3600.001, usd=2.0 * hours * 1.000001, usd_per_gpu_hour=2.0
    )
    assert binding_caps(plan, exact) == binding_caps(plan, Caps()) == []
    less = replace(exact, runs=2594, tokens=n_tokens - 1, gpu_seconds=hours * 3599, usd=1.99 * hours)
    assert [(cap.cap, cap.takes) for cap in binding_caps(plan, less)] == [
        ("runs", 2595), ("tokens", n_tokens), ("gpu_hours", hours), ("usd", pytest.approx(2.0 * hours)),
    ]  # fmt: skip
    on_cpu = plan_run(PAPER, load_hardware()["CPU"])
    assert [cap.cap for cap in binding_caps(on_cpu, Caps(gpu_seconds=1.0, usd=0.0, tokens=1))] == ["tokens"]
