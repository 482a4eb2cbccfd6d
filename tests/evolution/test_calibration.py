"""What scores are worth: against known rank correlations, slopes and shares."""

from __future__ import annotations

from math import asin, pi
from random import Random

import pytest
from scipy import stats

from genesys.evolution.calibration import calibrate, rank_correlation, share, slope
from genesys.evolution.events import DesignImplemented, DesignProposed, ProposalFailed, SessionStarted
from genesys.testing.books import add_design, start_tree, verify


@pytest.mark.parametrize("seed", range(5))
def test_rank_correlation_and_slope_are_scipy_s(seed: int) -> None:
    rng = Random(seed)
    pairs = [(x := rng.choice((1.0, 2.0, 3.0, 4.5)), x + rng.gauss(0, 2)) for _ in range(30)]
    found = rank_correlation(pairs)
    assert found.value == pytest.approx(stats.spearmanr(*zip(*pairs, strict=True)).statistic)
    assert found.low is not None and found.high is not None and -1 < found.low < found.value < found.high < 1
    line, expected = slope(pairs), stats.linregress(*zip(*pairs, strict=True))
    assert line.value == pytest.approx(expected.slope)
    assert line.high == pytest.approx(expected.slope + stats.t.ppf(0.975, 28) * expected.stderr, rel=1e-4)


def test_a_share_has_wilson_s_interval() -> None:
    expected = stats.binomtest(3, 10).proportion_ci(method="wilson")
    assert (share(3, 10).low, share(3, 10).high) == pytest.approx((expected.low, expected.high))
    assert share(0, 0).value is None


def test_too_little_says_nothing() -> None:
    perfect = rank_correlation([(k, k) for k in range(10)])
    assert perfect.value == 1 and perfect.low is not None and perfect.low < 0.99
    assert rank_correlation([(k, k) for k in range(9)]).value is None
    assert rank_correlation([(1.0, 2.0)] * 3).value is rank_correlation([(1.0, k) for k in range(12)]).value is None
    assert slope([(1.0, 2.0), (2.0, 3.0)]).value is slope([(1.0, 2.0)] * 5).value is None


def test_the_interval_of_a_rank_correlation_holds_the_truth_as_often_as_it_says() -> None:
    rng, rho, n_held = Random(1), 0.5, 0
    truth = 6 / pi * asin(rho / 2)  # of the normal distribution
    for _ in range(300):
        xs = [rng.gauss(0, 1) for _ in range(40)]
        pairs = [(x, rho * x + (1 - rho**2) ** 0.5 * rng.gauss(0, 1)) for x in xs]
        found = rank_correlation(pairs)
        assert found.low is not None and found.high is not None
        n_held += found.low <= truth <= found.high
    assert 0.91 <= n_held / 300 <= 0.985


def test_a_run_s_scores_are_held_against_fitness_order_and_the_planted() -> None:
    tree = start_tree(quotas=(100, 5, 2), reference="seed")
    add_design(tree, "seed", is_seed=True)
    verify(tree, "seed", "small", 0.5)
    for n in range(20):
        tree.apply(SessionStarted(session=f"session-{n}", designer="d", operator="scratch", task="t"))
        scores = {"reviewer.rating": 3.0 + n / 10, "planted.rating": 4.5 if n % 4 == 0 else 1.0}
        if n % 3 == 2:
            failure = ProposalFailed(
                designer="d", operator="scratch", reason="", session=f"session-{n}", scores=scores, cause="units"
            )
            tree.apply(failure)
            continue
        made = DesignProposed(
            design=f"made-{n}", name="m", program="p", operator="scratch", session=f"session-{n}", scores=scores
        )
        tree.apply(made)
        tree.apply(DesignImplemented(design=f"made-{n}"))
        verify(tree, f"made-{n}", "small", n / 30)
    found = calibrate(tree, 4.0)
    (score,) = found.scores
    assert (score.score, score.against_fitness.value, score.against_fitness.n) == (
        "reviewer.rating",
        pytest.approx(1),
        14,
    )
    assert score.inflation.value == pytest.approx(10.0), "a tenth of a point a session"
    assert (found.planted.value, found.planted.n) == (0.25, 20)
