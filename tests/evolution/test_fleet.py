"""Fleets of any number of verifiers: nobody idles while there is work, and the ladder ends exactly at its quotas."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from genesys.evolution import EvolutionTree
from genesys.evolution.fitness import PaperFitness
from genesys.testing.simulation import barrier_busy_share, run_fleet

PAPER_QUOTAS = (1000, 400, 150, 40, 5)
PAPER_MEAN_S = (174.0, 437.0, 22 * 60.0, 146 * 60.0, 17 * 3600.0)


def nothing_is_open(tree: EvolutionTree) -> None:
    """By the ladder's rule of release, no scale has room for anybody who waits there."""
    settled: list[str] = []
    for scale in tree.scales:
        account = tree.ledger.account(scale)
        room = tree.ledger.released(scale, settled=settled) - account.used
        assert room < 1 or not len(tree.waiting(scale)), f"{room} runs may start at {scale}, yet a verifier idles"
        if len(settled) == tree.scales.index(scale) and not account.reserved and not len(tree.waiting(scale)):
            settled.append(scale)


@settings(max_examples=40, deadline=None)
@given(
    quotas=st.lists(st.integers(0, 20), min_size=1, max_size=4)
    .map(lambda q: tuple(sorted(q, reverse=True)))
    .filter(any),
    n_verifiers=st.integers(1, 40),
    sigma=st.sampled_from([0.0, 1.0]),
    seed=st.integers(0, 1000),
)
def test_no_verifier_idles_while_a_lease_may_be_granted(
    quotas: tuple[int, ...], n_verifiers: int, sigma: float, seed: int
) -> None:
    mean_s = [60.0 * 4**k for k in range(len(quotas))]
    report = run_fleet(
        quotas, mean_s, n_verifiers, sigma=sigma, seed=seed, promotion="random", selection="random", n_seeds=0,
        rule=PaperFitness(), on_idle=nothing_is_open,
    )  # fmt: skip
    assert report.n_runs == quotas and report.reason == "every quota is spent"
    assert report.over_bound >= 1 - 1e-9
    if n_verifiers == 1:
        assert report.busy_share == pytest.approx(1.0) and report.makespan_s == pytest.approx(report.work_s)


def test_the_papers_ladder_ends_at_its_quotas_with_a_thousand_verifiers() -> None:
    report = run_fleet(PAPER_QUOTAS, PAPER_MEAN_S, 1000)
    assert report.n_runs == PAPER_QUOTAS and report.reason == "every quota is spent"
    assert report.over_bound >= 1


def test_waiting_for_the_slowest_keeps_eight_workers_a_third_busy() -> None:
    assert barrier_busy_share([8000], [1.0], 8, sigma=1.0) == pytest.approx(0.32, abs=0.02)
    assert barrier_busy_share([8000], [1.0], 8, sigma=0.0) == pytest.approx(1.0)
