"""Runs against each other: what is counted, equal amounts, intervals."""

from __future__ import annotations

from random import Random
from statistics import fmean

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from genesys.errors import ConfigError
from genesys.evolution import EvolutionTree
from genesys.evolution.courses import (
    Course,
    Step,
    Yardstick,
    bootstrap_interval,
    compare_arms,
    course,
    equal_amounts,
    yardstick,
)
from genesys.evolution.events import (
    DesignImplemented,
    DesignProposed,
    DesignRejected,
    Event,
    LeaseGranted,
    LessonsWritten,
    ProposalFailed,
    RunStarted,
    VerificationFailed,
    VerificationRecorded,
)
from genesys.evolution.fitness import resolve_fitness
from genesys.evolution.rating import Frame

STICK = Yardstick(scale="low", rule=resolve_fitness("paper"), reference=(), frame=Frame())


def proposed(design: str, operator: str = "mutation", cost_usd: float = 0.0) -> DesignProposed:
    return DesignProposed(design=design, name=design, program=design, operator=operator, cost_usd=cost_usd)


def verified(design: str, lease: int, accuracy: float, scale: str = "low") -> VerificationRecorded:
    return VerificationRecorded(
        lease=lease, design=design, scale=scale, metrics={"task_a": accuracy}, report="r", seconds=1800.0,
        gpu_seconds=3600.0,
    )  # fmt: skip


EVENTS: list[Event] = [
    proposed("seed", "seed"), DesignImplemented(design="seed"), verified("seed", 1, 0.9),
    proposed("a", cost_usd=1.0), DesignImplemented(design="a"),
    ProposalFailed(designer="d", operator="mutation", reason="none passed", cause="proposal", cost_usd=0.5),
    ProposalFailed(designer="d", operator="mutation", reason="no room", cause="money"),
    proposed("b", cost_usd=2.0), DesignRejected(design="b", findings=()),
    verified("a", 2, 0.3), verified("a", 3, 0.8, "high"),
    LessonsWritten(session="s", text="t", n_designs=2, cost_usd=0.25),
    proposed("c"), DesignImplemented(design="c"), verified("c", 4, 0.5),
    proposed("e"), DesignImplemented(design="e"),
    VerificationFailed(lease=5, design="e", scale="low", cause="diverged", seconds=1800.0, gpu_seconds=3600.0),
]  # fmt: skip


def test_what_a_run_used_and_found_is_counted() -> None:
    found = course(EVENTS, STICK, lowest="low", usd_per_gpu_hour=2.0)
    assert found.end == Step(designs=3, hours=5.0, usd=3.75 + 10.0, best=0.5)
    assert found.found == (0.3, 0.5), "neither the seed nor what was measured at another scale"
    assert (found.n_attempts, found.n_sane) == (5, 3), "no attempt for want of money, nor a seed, is one"
    assert found.on_gpus
    assert [found.best_at("designs", n) for n in (0, 1, 2, 3)] == [None, 0.3, 0.5, 0.5]
    assert found.best_at("hours", 2.5) == 0.3 and found.best_at("usd", 1.0) is None


def test_hours_are_of_verifiers_where_no_gpu_is_reserved() -> None:
    event = VerificationRecorded(lease=1, design="a", scale="low", metrics={"task_a": 0.1}, report="r", seconds=1800.0)
    found = course([event], STICK, lowest="low")
    assert found.end.hours == 0.5 and not found.on_gpus


steps = st.lists(
    st.tuples(st.integers(0, 3), st.floats(0, 5), st.floats(0, 5), st.floats(-1, 1)), min_size=1, max_size=6
)


def grown(moves: list[tuple[int, float, float, float]]) -> Course:
    """A course whose amounts and best only grow, as real ones do."""
    designs, hours, usd, best, made = 0, 0.0, 0.0, -2.0, []
    for d, h, u, b in moves:
        designs, hours, usd, best = designs + d, hours + h, usd + u, max(best, b)
        made.append(Step(designs=designs, hours=hours, usd=usd, best=best))
    return Course(steps=tuple(made), found=(), n_attempts=0, n_sane=0, on_gpus=False)


@given(st.lists(steps, min_size=1, max_size=4), st.floats(0.1, 20))
def test_equal_amounts_are_those_that_all_have_used(moves: list, budget: float) -> None:
    courses = [grown(each) for each in moves]
    amounts = equal_amounts(courses, {"usd": budget})
    for means, amount in amounts.items():
        used = [getattr(c.end, means) for c in courses if getattr(c.end, means) > 0]
        assert all(amount <= u for u in used)
        assert amount in (*used, budget, float("inf"))
    assert amounts["usd"] <= budget


@given(steps, st.floats(0, 20), st.floats(0, 20))
def test_more_of_anything_finds_nothing_worse(moves: list, a: float, b: float) -> None:
    run = grown(moves)
    for means in ("designs", "hours", "usd"):
        less, more = run.best_at(means, min(a, b)), run.best_at(means, max(a, b))
        assert less is None or (more is not None and less <= more)
    assert run.best_at("usd", float("inf")) == run.end.best


@settings(max_examples=25)
@given(st.lists(st.floats(-100, 100), min_size=2, max_size=8))
def test_bootstrap_intervals_lie_among_the_values(values: list[float]) -> None:
    low, high = bootstrap_interval(values)
    assert min(values) - 1e-9 <= low <= high <= max(values) + 1e-9
    assert (low, high) == bootstrap_interval(values)


def test_bootstrap_intervals_cover_as_often_as_they_say() -> None:
    """Of ten normal values the interval of the mean holds 0 in nine cases of ten, as is known of this bootstrap."""
    rng = Random(7)
    hits = 0
    for _ in range(100):
        low, high = bootstrap_interval([rng.gauss(0, 1) for _ in range(10)])
        hits += low <= 0 <= high
    assert 82 <= hits <= 98


def one(best: float, designs: int = 4) -> Course:
    steps = tuple(Step(designs=n, hours=n / 10, usd=0.0, best=best) for n in range(1, designs + 1))
    return Course(steps=steps, found=(best, best - 1), n_attempts=4, n_sane=2, on_gpus=False)


def test_rows_are_paired_by_seed_with_the_first() -> None:
    runs = {
        "full": {0: one(1.0), 1: one(1.1), 2: one(0.9), 3: one(1.0)},
        "worse": {0: one(0.0), 1: one(0.11), 2: one(-0.09), 3: one(0.0)},
        "single": {9: one(5.0)},
    }
    first, worse, single = compare_arms(runs, equal_amounts([c for r in runs.values() for c in r.values()]))
    assert first.against is None and single.against is None
    assert worse.against is not None and worse.against.verdict == "worse" and worse.against.best_of == 2
    assert worse.against.difference == pytest.approx(-0.995)
    assert first.best["designs"] is not None and first.best["designs"].mean == pytest.approx(fmean([1, 1.1, 0.9, 1]))
    assert single.best["designs"] is not None and single.best["designs"].low is None
    assert first.valid is not None and first.valid.mean == 0.5


def tree_of(*events: Event, reference: str = "", **config: str) -> EvolutionTree:
    tree = EvolutionTree(resolve_fitness("paper"))
    tree.apply(RunStarted(run="r", scales=("low",), quotas=(9,), reference=reference, config=config))
    for event in events:
        tree.apply(event)
    return tree


def test_the_reference_of_any_run_serves_all() -> None:
    measured = tree_of(
        proposed("seed", "seed"), DesignImplemented(design="seed"),
        LeaseGranted(lease=1, design="seed", scale="low", holder="v"), verified("seed", 1, 0.9), reference="seed",
    )  # fmt: skip
    assert yardstick([tree_of(), measured]).reference == ({"task_a": 0.9},)
    assert yardstick([tree_of()]).reference == ()


@pytest.mark.parametrize(
    ("trees", "scale", "message"),
    [
        ([], None, r"Cannot compare runs: there is none"),
        ([tree_of()], "high", r"Cannot compare at scale 'high': expected low"),
        ([tree_of(data_hash="x"), tree_of(data_hash="y")], None, r"they differ in data_hash"),
    ],
)
def test_runs_that_cannot_be_compared(trees: list, scale: str | None, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        yardstick(trees, scale)
