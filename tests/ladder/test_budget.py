"""Caps: never passed at a grant, exact in whatever order runs end."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from genesys.ladder.budget import Budget, Caps, Cost
from genesys.ladder.ledger import BookkeepingError

costs = st.tuples(st.integers(0, 50), st.floats(0, 20, allow_nan=False))


@settings(max_examples=150, deadline=None)
@given(
    caps=st.builds(
        Caps,
        runs=st.none() | st.integers(0, 6),
        tokens=st.none() | st.integers(0, 200),
        gpu_seconds=st.none() | st.floats(0, 60),
        usd=st.none() | st.floats(0, 0.05),
        usd_per_gpu_hour=st.sampled_from([0.0, 2.5]),
    ),
    steps=st.lists(st.tuples(costs, costs, st.booleans(), st.booleans()), max_size=40),
)
def test_no_grant_passes_a_cap_and_all_that_was_set_aside_comes_back(
    caps: Caps, steps: list[tuple[tuple[int, float], tuple[int, float], bool, bool]]
) -> None:
    budget, out = Budget(caps), list[Cost]()
    for claim, used, ends, is_refund in steps:
        cost = Cost.of(*claim)
        before, has_room = (budget.spent, budget.reserved), budget.room(cost)
        try:
            budget.reserve(cost)
            assert has_room
            out.append(cost)
            total = budget.spent.plus(budget.reserved)
            assert caps.runs is None or total.runs <= caps.runs
            assert caps.tokens is None or total.n_tokens <= caps.tokens
            assert caps.gpu_seconds is None or total.gpu_seconds <= caps.gpu_seconds + 1e-6
            assert caps.usd is None or budget.usd + budget.usd_reserved <= caps.usd + 1e-9
        except BookkeepingError:
            assert not has_room and (budget.spent, budget.reserved) == before
        if ends and out:
            budget.settle(out.pop(0), Cost.of(*used, runs=0 if is_refund else 1))
    for cost in out:
        budget.settle(cost, Cost())
    assert budget.reserved == Cost(), "nothing is left of what was set aside, to the last digit"


def test_what_was_used_beyond_the_reservation_is_booked_and_stops_the_next_grant() -> None:
    budget = Budget(Caps(gpu_seconds=3600))
    budget.reserve(Cost.of(10, 1800))
    budget.settle(Cost.of(10, 1800), Cost.of(12, 4000))
    assert (budget.spent.n_tokens, budget.spent.gpu_seconds) == (12, 4000)
    assert budget.shortage(Cost.of()) == "the cap of 1 GPU-hours"


@pytest.mark.parametrize(
    ("caps", "said"),
    [
        (Caps(runs=0), "0 runs"),
        (Caps(runs=1), "1 run"),
        (Caps(tokens=99_999), "99,999 tokens"),
        (Caps(gpu_seconds=7199), "2 GPU-hours"),
        (Caps(usd=3.5, usd_per_gpu_hour=2.0), "3.50 USD"),
    ],
)
def test_the_cap_in_the_way_is_named(caps: Caps, said: str) -> None:
    cost = Cost.of(100_000, 7200, runs=2)
    assert Budget(caps).shortage(cost) == f"the cap of {said}"
    with pytest.raises(BookkeepingError, match=f"the cap of {said} leaves no room"):
        Budget(caps).reserve(cost)


@pytest.mark.parametrize(
    "caps", [Caps(runs=2), Caps(tokens=100_000), Caps(gpu_seconds=7200), Caps(usd=4.0, usd_per_gpu_hour=2.0)]
)
def test_a_cap_may_be_reached_and_not_passed(caps: Caps) -> None:
    budget = Budget(caps)
    budget.reserve(Cost.of(100_000, 7200, runs=2))
    assert budget.shortage(Cost.of(1, 1.0))


@pytest.mark.parametrize("data", [{"gpus": 1}, {"runs": -1}, {"usd": float("inf")}, {"tokens": "9"}, {"runs": True}])
def test_caps_that_make_no_sense_are_refused(data: dict[str, object]) -> None:
    with pytest.raises(BookkeepingError, match="Cannot set cap"):
        Caps.from_json(data)


@pytest.mark.parametrize("bad", [(-1, 0.0), (0, -1.0), (0, float("nan")), (0, float("inf"))])
def test_costs_that_make_no_sense_are_refused(bad: tuple[int, float]) -> None:
    with pytest.raises(BookkeepingError, match="expected finite numbers"):
        Cost.of(*bad)


def test_caps_are_read_as_they_were_written() -> None:
    caps = Caps(runs=3, usd=1.5, usd_per_gpu_hour=2.0)
    assert Caps.from_json(caps.to_json()) == caps and "tokens" not in caps.to_json()
