"""What tasks tell: signal found where it was put, noise called noise, and suites that lose little."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from genesys.evolution.listings import list_tasks
from genesys.evolution.signal import ScaleSignals, TaskSignal, read_tasks, untouched
from tests.evolution.replicates import replicated

SE = 0.01


def population(
    n: int, n_seeds: int, tasks: dict[str, tuple[float, float]], *, seed: int = 0
) -> dict[str, list[dict[str, float]]]:
    """Designs of one hidden quality; each task shows it with a weight and a noise of its training seeds."""
    rng, found = Random(seed), {}
    for k in range(n):
        quality, runs = rng.gauss(0, 1), []
        for _ in range(n_seeds):
            metrics = {}
            for task, (weight, noise) in tasks.items():
                value = 0.5 + weight * quality + rng.gauss(0, noise)
                metrics |= {f"task_{task}": min(1.0, max(0.0, value)), f"task_{task}_se": SE}
            runs.append(metrics)
        found["gpt" if k == 0 else f"d{k}"] = runs
    return found


def signals(n: int, n_seeds: int, tasks: dict[str, tuple[float, float]], **costs: float) -> ScaleSignals:
    return ScaleSignals(replicated(population(n, n_seeds, tasks))[0], "small", costs)


def by_name(found: list[TaskSignal]) -> dict[str, TaskSignal]:
    return {signal.vote.removeprefix("task_"): signal for signal in found}


def test_signal_and_noise_are_found_where_they_were_put() -> None:
    found = by_name(signals(80, 3, {"clear": (0.05, 0.01), "noisy": (0.02, 0.05), "empty": (0.0, 0.03)}).tasks())
    assert found["clear"].signal == pytest.approx(0.05, rel=0.2)
    assert found["noisy"].signal == pytest.approx(0.02, rel=0.5)
    assert found["empty"].signal < 0.01 and found["empty"].reliability < 0.1
    for name, noise in (("clear", 0.01), ("noisy", 0.05), ("empty", 0.03)):
        assert found[name].seed_deviation == pytest.approx(noise, rel=0.2)
        assert found[name].noise == pytest.approx((noise**2 + SE**2) ** 0.5, rel=0.2)
    assert found["clear"].reliability == pytest.approx(0.05**2 / (0.05**2 + 0.01**2 + SE**2), abs=0.05)
    assert list(found) == ["clear", "noisy", "empty"], "the most signal to noise first"


def test_without_replicates_the_noise_is_that_of_documents() -> None:
    (found,) = signals(20, 1, {"t": (0.05, 0.02)}).tasks()
    assert found.seed_deviation is None and found.noise == pytest.approx(SE) and found.n_replicated == 0


def test_a_cheaper_task_is_worth_more() -> None:
    tasks = {"a": (0.05, 0.02), "b": (0.05, 0.02)}
    found = signals(40, 2, tasks, a=100.0, b=1.0).tasks()
    assert [signal.vote for signal in found] == ["task_b", "task_a"]
    partly = signals(40, 2, {"a": (0.05, 0.02), "b": (0.05, 0.05)}, b=1.0).tasks()
    assert [s.vote for s in partly] == ["task_a", "task_b"], "by signal alone where some cost is unknown"


def test_the_proposed_suite_leaves_out_what_tells_nothing() -> None:
    tasks = {f"good{k}": (0.05, 0.01) for k in range(3)} | {f"bad{k}": (0.0, 0.05) for k in range(3)}
    costs = dict.fromkeys(tasks, 10.0)
    suite = signals(40, 3, tasks, **costs).propose()
    assert suite is not None and all("good" in vote for vote in suite.votes)
    assert suite.reliability >= 0.95 * suite.of_all and suite.cost is not None and suite.cost_of_all == 60.0
    assert suite.cost < suite.cost_of_all


def test_nothing_is_proposed_from_noise_or_from_two_designs() -> None:
    assert signals(2, 3, {"t": (0.05, 0.01)}).propose() is None
    constant = ScaleSignals(replicated({d: [{"task_t": 0.5}] for d in ("gpt", "b", "c")})[0], "small")
    assert constant.propose() is None and constant.tasks()[0].signal_to_noise == 0.0


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6), st.integers(3, 12), st.integers(1, 5), st.integers(1, 3))
def test_reliabilities_are_shares_and_the_suite_ends(seed: int, n: int, n_tasks: int, n_seeds: int) -> None:
    rng = Random(seed)
    tasks = {f"t{k}": (rng.choice([0.0, 0.02, 0.1]), rng.choice([0.0, 0.05])) for k in range(n_tasks)}
    found = ScaleSignals(replicated(population(n, n_seeds, tasks, seed=seed))[0], "small")
    assert all(0.0 <= s.reliability <= 1.0 and s.signal >= 0.0 for s in found.tasks())
    suite = found.propose()
    assert suite is None or (0.0 <= suite.reliability <= 1.0 and len(set(suite.votes)) == len(suite.votes) <= n_tasks)


def test_a_task_that_a_design_lacks_is_left_out_of_the_suite() -> None:
    designs = population(6, 1, {"a": (0.05, 0.01), "b": (0.05, 0.01)})
    designs["d1"] = [{key: value for key, value in designs["d1"][0].items() if not key.startswith("task_b")}]
    suite = ScaleSignals(replicated(designs)[0], "small").propose()
    assert suite is not None and suite.votes == ("task_a",)


def test_what_the_run_has_read_is_no_final_judge() -> None:
    """Law 9."""
    tree, _ = replicated({"gpt": [{"task_blimp": 0.6, "task_blimp_prob": 0.6, "probe_recall": 0.9}]})
    assert read_tasks(tree) == ("blimp", "recall")
    candidates = ("blimp", "blimp_adjunct_island", "arc_easy", "blimpish", "recall")
    assert untouched(tree, candidates) == ("arc_easy", "blimpish")
    assert list_tasks(tree, candidates=candidates)["untouched"] == ["arc_easy", "blimpish"]
    empty, _ = replicated({})
    assert untouched(empty, candidates) == candidates
