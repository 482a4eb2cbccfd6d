"""Seconds to size a design for every scale of the paper's and the CPU ladder, on the meta device.

python -m benchmarks.size_tuner
"""

from __future__ import annotations

import statistics
import sys
import time

import torch

from benchmarks._report import Report
from genesys.gau.library import SEED_NAMES, seed_design
from genesys.ladder import LADDERS
from genesys.model import tune_sizes

N_REPEATS = 5
GOAL_S = 1.0
VOCAB_SIZE = 32_000


def main() -> int:
    """Measure, print, and give the exit status."""
    torch.set_num_threads(1)
    report = Report("size_tuner")
    for name in SEED_NAMES:
        tree = seed_design(name)
        for ladder_name, ladder in LADDERS.items():
            tune_sizes(tree, ladder.scales, VOCAB_SIZE)  # imports, and the targets, are paid once a process
            seconds = []
            for _ in range(N_REPEATS):
                started = time.perf_counter()
                sizes = tune_sizes(tree, ladder.scales, VOCAB_SIZE)
                seconds.append(time.perf_counter() - started)
            report.add(f"{name}, {ladder_name} ladder", statistics.median(seconds), "s", at_most=GOAL_S)
            worst = max(size.error / scale.size_tolerance for size, scale in zip(sizes, ladder.scales, strict=True))
            report.add(f"{name}, {ladder_name} ladder, largest error", worst, "of the tolerance", at_most=1.0)
    return report.exit_code


if __name__ == "__main__":
    sys.exit(main())
