"""The paper's ladder on simulated H100s, any number of them: `python -m benchmarks.utilisation`.

Real reducer, selection and promotion; durations are lognormal (sigma 1) around the paper's wall-clock, and so the work is
334 verifier-hours with 20 hours for the longest chain, on average. Beside it, workers that wait for the slowest of each
generation. Needs half a minute.
"""

from __future__ import annotations

import argparse
import sys
from statistics import fmean

from benchmarks._report import Report
from genesys.testing.simulation import FleetReport, barrier_busy_share, run_fleet

QUOTAS = (1000, 400, 150, 40, 5)
MEAN_S = (174.0, 437.0, 22 * 60.0, 146 * 60.0, 17 * 3600.0)
"""A verification at 14M to 350M, 20 tokens a parameter on 8 GPUs: Cheng et al. 2025."""
FLEETS = (2, 4, 8, 16, 64, 334, 1000)
RULED_BY_WORK, KEPT_BUSY = 2, 8
"""Up to so many verifiers the makespan is the work over their number, and up to so many nobody waits before the last lease.

With more of them the last runs at the top are released late, since they wait for most of what is below: no goal of the makespan
over `max(work / n, longest chain)` can hold there, see docs/simulator.md."""
SIGMA = 1.0


def fleet(n: int, n_seeds: int, promotion: str) -> list[FleetReport]:
    return [run_fleet(QUOTAS, MEAN_S, n, sigma=SIGMA, seed=seed, promotion=promotion) for seed in range(n_seeds)]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=3, help="simulations of each fleet, averaged")
    parser.add_argument("--promotion", default="successive_halving")
    arguments = parser.parse_args()
    report = Report("utilisation")
    exact = True
    for n in FLEETS:
        runs = fleet(n, arguments.seeds, arguments.promotion)
        exact &= all(run.n_runs == QUOTAS and run.reason == "every quota is spent" for run in runs)
        report.add(f"makespan_{n}", fmean(run.makespan_s for run in runs) / 3600, "h")
        goal = 1.1 if n <= RULED_BY_WORK else None
        report.add(f"makespan_over_bound_{n}", fmean(run.over_bound for run in runs), "ratio", at_most=goal)
        busy = fmean(run.busy_share for run in runs)
        report.add(f"busy_until_last_lease_{n}", busy, "share", at_least=0.95 if n <= KEPT_BUSY else None)
        whole = fmean(run.work_s / (n * run.makespan_s) for run in runs)
        report.add(f"busy_{n}", whole, "share")
        barrier = fmean(barrier_busy_share(QUOTAS, MEAN_S, n, sigma=SIGMA, seed=s) for s in range(arguments.seeds))
        report.add(f"busy_{n}_with_barriers", barrier, "share")
    impatient = fmean(run.busy_share for run in fleet(16, arguments.seeds, "random"))
    report.add("busy_until_last_lease_16_random", impatient, "share", at_least=0.95)
    report.add("ends_exactly_at_the_quotas", float(exact), "bool", at_least=1.0)
    by_generation = barrier_busy_share([8000], [1.0], 8, sigma=SIGMA)
    report.add("one_rung_8_workers_with_barriers", by_generation, "share", at_most=0.34)
    report.add(
        "one_rung_8_workers", run_fleet([8000], [1.0], 8, sigma=SIGMA, n_seeds=0).busy_share, "share", at_least=0.95
    )
    return report.exit_code


if __name__ == "__main__":
    sys.exit(main())
