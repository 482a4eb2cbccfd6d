"""Rate limits: no minute passes more than it may, whoever comes first is sent first, and what was not used comes back."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from genesys.llm.limits import BURST, MAX_HOLD_S, Pace, paces
from genesys.llm.settings import ModelConfig

ROUNDING = 1e-6


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def fullest_minute(sent: list[tuple[float, float]]) -> float:
    """The most that any 60 s from one sending on hold, the end left out."""
    return max((sum(n for t, n in sent if start <= t < start + 60 - ROUNDING) for start, _ in sent), default=0.0)


arrivals = st.lists(st.tuples(st.sampled_from([0.0, 0.0, 0.01, 0.5, 3.0, 45.0]), st.integers(1, 400)), max_size=60)


@settings(max_examples=100, deadline=None)
@given(arrivals, st.integers(1, 40), st.integers(50, 3000), st.sampled_from([0.0, 7.0]))
def test_no_minute_passes_more_than_its_limits(
    calls: list[tuple[float, int]], n_requests: int, n_tokens: int, hold_s: float
) -> None:
    clock = Clock()
    pace = Pace(n_requests, n_tokens, clock=clock)
    sent: list[tuple[float, float]] = []
    for k, (after_s, n) in enumerate(calls):
        clock.now += after_s
        if k == 5:
            pace.hold(hold_s)
        sent.append((clock.now + pace.reserve(n), n))
    times = [t for t, _ in sent]
    assert times == sorted(times), "whoever comes first is sent first"
    assert fullest_minute([(t, 1) for t in times]) <= n_requests
    largest = max((n for _, n in calls), default=0)
    assert fullest_minute(sent) <= n_tokens + max(0.0, largest - n_tokens * BURST) + ROUNDING


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.integers(1, 400), st.floats(0, 1)), min_size=1, max_size=60), st.integers(1, 5))
def test_what_is_given_back_serves_others_and_no_more_is_used_than_allowed(
    calls: list[tuple[int, float]], n_slots: int
) -> None:
    """Callers in a closed loop: each sends its next call when its last one has ended, a second after it was sent."""
    clock, limit = Clock(), 600.0
    pace = Pace(None, limit, clock=clock)
    start, used = clock.now, 0.0
    running: list[tuple[float, int, int]] = []
    for n, share in calls:
        if len(running) == n_slots:
            running.sort()
            ends, reserved, really = running.pop(0)
            clock.now = max(clock.now, ends)
            pace.give_back(reserved - really)
        sent = clock.now + pace.reserve(n)
        running.append((sent + 1, n, int(n * share)))
        used += int(n * share)
        excess = max(0.0, max(n for n, _ in calls) - limit * BURST) + sum(really for _, _, really in running)
        assert used <= limit * BURST + limit * (1 - BURST) / 60 * (sent - start) + excess + ROUNDING


def test_giving_back_shortens_the_wait_of_whoever_comes_next() -> None:
    waits = []
    for given_back in (0, 90):
        pace = Pace(None, 600, clock=Clock())
        pace.reserve(100)
        pace.give_back(given_back)
        waits.append(pace.reserve(50))
    assert waits[1] < waits[0]


def test_without_limits_nobody_waits_but_for_a_hold() -> None:
    clock = Clock()
    pace = Pace(clock=clock)
    assert [pace.reserve(10**9) for _ in range(3)] == [0, 0, 0]
    pace.hold(20)
    pace.hold(5)  # shorter than the one that is on
    assert pace.reserve(1) == 20
    clock.now += 12
    assert pace.reserve(1) == 8
    clock.now += 100
    assert pace.reserve(1) == 0


@pytest.mark.parametrize("asked", [1e18, float("inf")])
def test_no_endpoint_holds_a_run_for_ever(asked: float) -> None:
    pace = Pace(60, clock=Clock())
    pace.hold(asked)
    assert pace.reserve(1) == MAX_HOLD_S


@pytest.mark.parametrize("asked", [-5.0, 0.0, float("nan")])
def test_a_hold_of_nonsense_is_none(asked: float) -> None:
    pace = Pace(60, clock=Clock())
    pace.hold(asked)
    assert pace.reserve(1) == 0


def test_a_model_of_two_roles_keeps_to_its_lowest_limits() -> None:
    clock = Clock()
    model = ModelConfig(name="a", requests_per_minute=600, tokens_per_minute=100)
    found = paces(
        {"coder": (model, ModelConfig(name="b")), "default": (ModelConfig(name="a", requests_per_minute=1),)},
        clock=clock,
    )
    assert set(found) == {"a", "b"}
    assert found["a"].reserve(0) == 0 and found["a"].reserve(0) > 60
    assert found["b"].reserve(10**6) == found["b"].reserve(10**6) == 0
