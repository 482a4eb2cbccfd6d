"""Paired comparisons: how often they claim what is not so, and what they say of few pairs."""

from __future__ import annotations

import math
from collections.abc import Callable
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.same_design import aa_false_claims
from genesys.evolution.inference import (
    compare,
    e_values,
    expected_maximum,
    maximum_quantile,
    t_distribution,
    t_quantile,
)

N_LOOKS = 30
NOISES: dict[str, Callable[[Random], float]] = {
    "normal": lambda rng: rng.gauss(0, 1),
    "uniform": lambda rng: rng.uniform(-1, 1),
    "two peaks": lambda rng: float(rng.choice((0, 1)) - rng.choice((0, 1))),
    "heavy tails": lambda rng: rng.gauss(0, 1) / math.sqrt(rng.gammavariate(1.5, 1 / 1.5)),
}

differences = st.lists(st.floats(-100, 100).filter(lambda x: x == 0 or abs(x) > 1e-3), min_size=1, max_size=12)


def claims(noise: Callable[[Random], float], n: int, *, best_of: int = 1, seed: int = 0) -> float:
    """Share of n null cases in which somebody who looks after every pair ever finds a difference."""
    rng, found = Random(seed), 0
    for _ in range(n):
        cases = [[(noise(rng), 0.0) for _ in range(N_LOOKS)] for _ in range(best_of)]
        found += any(compare(case, best_of=best_of).verdict in ("better", "worse") for case in cases)
    return found / n


@pytest.mark.parametrize("noise", NOISES)
def test_looking_after_every_pair_claims_a_difference_in_at_most_5_percent_of_null_cases(noise: str) -> None:
    assert claims(NOISES[noise], 200) <= 0.05


def test_picking_the_best_of_ten_is_paid_for() -> None:
    assert claims(NOISES["normal"], 100, best_of=10) <= 0.05


@pytest.mark.slow
@pytest.mark.parametrize("noise", NOISES)
def test_the_rate_of_false_claims_over_20_000_cases(noise: str) -> None:
    assert claims(NOISES[noise], 20_000, seed=1) <= 0.05


def test_a_plain_t_test_at_every_look_does_claim_too_much() -> None:
    """Shows that the test above can fail."""
    rng, found = Random(0), 0
    for _ in range(60):
        draws = [(rng.gauss(0, 1), 0.0) for _ in range(N_LOOKS)]
        looks = [compare(draws[:n]) for n in range(3, N_LOOKS + 1)]
        found += any(c.low is not None and c.high is not None and (c.low > 0 or c.high < 0) for c in looks)
    assert found / 60 > 0.15


def test_e_values_average_at_most_one_under_the_null() -> None:
    rng = Random(2)
    for n in (2, 3, 8):
        mean = sum(e_values([rng.gauss(0, 3) for _ in range(n)])[-1] for _ in range(4000)) / 4000
        assert mean == pytest.approx(1.0, abs=0.25), n


def test_replicates_of_one_design_are_not_told_apart() -> None:
    """A/A on bootstrapped replicates, three seeds a design."""
    rng = Random(5)

    def metrics() -> dict[str, float]:
        found = {"test_bpb": 2.5 + rng.gauss(0, 0.02), "unigram_bpb": 4.5, "probe_recall_chance": 0.0625}
        return found | {"probe_recall": min(1.0, 0.9 + rng.gauss(0, 0.03))}

    results = {
        d: {s: {str(k): metrics() for k in range(3)} for s in ("cpu-1", "cpu-2")} for d in ("gpt", "ttt", "conv")
    }
    shares = aa_false_claims(results, 200)
    assert set(shares) == {"fitness", "test_bpb", "probe_recall"} and shares["fitness"] <= 0.05
    with pytest.raises(ValueError, match="none has three training seeds"):
        aa_false_claims({"gpt": {"cpu-1": {"0": metrics(), "1": metrics()}}})


@given(differences)
def test_e_values_know_neither_scale_nor_sign(values: list[float]) -> None:
    assert e_values([3.0 * v for v in values]) == pytest.approx(e_values(values), rel=1e-6)
    assert e_values([-v for v in values]) == pytest.approx(e_values(values), rel=1e-6)
    assert e_values(values)[0] == pytest.approx(1.0) or values[0] == 0.0
    assert all(0.0 < e < math.inf for e in e_values(values))


@given(differences)
def test_swapping_the_designs_mirrors_the_comparison(values: list[float]) -> None:
    one, other = compare([(v, 0.0) for v in values]), compare([(0.0, v) for v in values])
    assert one.difference == pytest.approx(-other.difference) and one.p_value == pytest.approx(other.p_value)
    mirrored = {"better": "worse", "worse": "better"}
    assert other.verdict == mirrored.get(one.verdict, one.verdict) and 0.0 < one.p_value <= 1.0


def test_a_difference_that_turns_is_no_claim_the_other_way() -> None:
    """The evidence is that of the first three, for "better": it says nothing for "worse"."""
    pairs = [(1.0, 0.0), (1.001, 0.0), (0.999, 0.0), (-10.0, 0.0)]
    assert compare(pairs[:3]).verdict == "better"
    turned = compare(pairs)
    assert turned.difference < 0 and turned.e_value > 20 and turned.verdict == "not separated" and turned.n_more != 0
    assert compare([(b, a) for a, b in pairs]).verdict == "not separated"
    assert compare([*pairs[:3], (-0.5, 0.0)]).verdict == "better", "a claim stands while the mean has its sign"
    assert compare([*pairs[:3], *[(-10.0, 0.0)] * 40]).verdict == "worse", "until there is as much evidence against it"


@given(differences, st.integers(1, 100))
def test_no_claim_below_three_pairs_however_large_the_difference(values: list[float], best_of: int) -> None:
    found = compare([(v, 0.0) for v in values[:2]], best_of=best_of)
    assert found.verdict == "too few seeds" and found.p_value > 0.05
    assert found.n_more is None or found.n_pairs + found.n_more >= 3


def test_three_pairs_settle_a_clear_difference_and_more_seeds_a_small_one() -> None:
    clear = compare([(0.90, 0.50), (0.91, 0.50), (0.89, 0.50)])
    assert clear.verdict == "better" and clear.n_more == 0 and clear.effect_size == pytest.approx(40, rel=0.01)
    assert clear.low == pytest.approx(0.4 - 4.302653 * 0.01 / math.sqrt(3))
    small = compare([(0.52, 0.50), (0.51, 0.50), (0.50, 0.50)])
    assert small.verdict == "not separated" and small.n_more is not None and small.n_more > 3
    rng = Random(0)
    draws = [(rng.gauss(1.0, 1.0), 0.0) for _ in range(60)]
    assert compare(draws).verdict == "better", "a difference of one deviation is found in the end"


def test_the_forecast_is_what_such_differences_take() -> None:
    forecast = compare([(1.0, 0.0)], noise=0.5)
    assert forecast.verdict == "too few seeds" and forecast.n_more is not None
    n = 1 + forecast.n_more
    step = 0.5 * math.sqrt((n - 1) / n)  # n differences about 1 with a deviation of 0.5, as far as n is even
    steps = [step * (-1) ** i for i in range(n - n % 2)] + [0.0] * (n % 2)
    assert compare([(1.0 + s, 0.0) for s in steps], best_of=1).e_value > 15
    assert compare([(1e-4, 0.0), (0.0, 1e-4), (1.1e-4, 0.0)]).n_more is not None
    assert compare([(0.0, 0.0)] * 3).n_more is None, "no number of pairs settles no difference"


def test_the_best_of_many_needs_more_evidence() -> None:
    pairs = [(0.90, 0.50), (0.91, 0.50), (0.89, 0.50)]
    assert compare(pairs, best_of=10).verdict == "not separated"
    assert compare(pairs, best_of=10).p_value == pytest.approx(10 * compare(pairs).p_value)


def test_equal_results_and_rounding_are_no_difference() -> None:
    same = compare([(0.1 + 0.2, 0.3)] * 5)
    assert same.difference == 0.0 and same.verdict == "not separated" and same.effect_size is None
    constant = compare([(1.0, 0.5)] * 3)
    assert constant.verdict == "better" and constant.effect_size is None, "no deviation: no effect size, but a claim"
    assert math.isfinite(compare([(1.0, 0.5)] * 5000).e_value)


@pytest.mark.parametrize("pairs", [[], [(math.nan, 1.0)] * 3, [(1.0, math.inf)] * 3])
def test_what_is_not_finite_is_refused(pairs: list[tuple[float, float]]) -> None:
    with pytest.raises(ValueError, match="expected at least one, and finite numbers"):
        compare(pairs)


@pytest.mark.parametrize(("freedom", "quantile"), [(1, 12.7062), (2, 4.3027), (5, 2.5706), (30, 2.0423)])
def test_students_t(freedom: int, quantile: float) -> None:
    assert t_quantile(freedom) == pytest.approx(quantile, abs=1e-4)
    assert t_distribution(-quantile, freedom) == pytest.approx(0.025, abs=1e-5)
    assert t_distribution(0.0, freedom) == pytest.approx(0.5)


def test_the_expected_maximum_of_normal_numbers() -> None:
    assert expected_maximum(1) == pytest.approx(0.0, abs=1e-6)
    assert expected_maximum(2) == pytest.approx(1 / math.sqrt(math.pi), abs=1e-4)
    rng = Random(0)
    assert expected_maximum(16) == pytest.approx(
        sum(max(rng.gauss(0, 1) for _ in range(16)) for _ in range(4000)) / 4000, abs=0.05
    )
    assert maximum_quantile(1, 0.975) == pytest.approx(1.96, abs=1e-3)
