"""How long checks take: the full check of each seed, the cheap stages, a kept verdict, and a start in the cage.

python -m benchmarks.checker
"""

from __future__ import annotations

import asyncio
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

import torch

from benchmarks._report import Report
from genesys.checker import CHEAP_STAGES, STAGES, VerdictCache, check_request, is_sane
from genesys.checker.job import check
from genesys.gau import Unit, UnitTree, parse_unit
from genesys.gau.library import SEED_NAMES, seed_design
from genesys.ladder import CPU_SCALES
from genesys.sandbox import CHECK_MODULES, ForkCage, Policy
from genesys.verification.checking import check_design

N_REPEATS = 3
N_CHEAP = 10
N_STARTS = 30
VOCAB_SIZE = 257
FULL_GPT_S, FULL_SEED_S = 20.0, 60.0
CHEAP_PER_S = 6.0
CACHED_MS, START_MS = 5.0, 30.0
START_ENTRY = "benchmarks.checker:answer_at_once"


def main() -> int:
    """Measure, print, and give the exit status."""
    torch.set_num_threads(1)
    report = Report("checker")
    for name in SEED_NAMES:
        goal = FULL_GPT_S if name == "gpt" else FULL_SEED_S
        report.add(f"full check of {name}, p50", _full_check_s(name), "s", at_most=goal)
    for name in SEED_NAMES:
        goal = CHEAP_PER_S if name == "gpt" else None
        report.add(f"cheap stages of {name} at d=64, L=64", _cheap_per_s(name), "designs/s", at_least=goal)
    report.add("cached check, p50", asyncio.run(_cached_ms()), "ms", at_most=CACHED_MS)
    report.add("warm start in the cage over in-process, p50", asyncio.run(_start_ms()), "ms", at_most=START_MS)
    return report.exit_code


def answer_at_once(request: dict[str, int]) -> dict[str, int]:
    """The entry of a job that does nothing."""
    return request


def _full_check_s(name: str) -> float:
    request = check_request(seed_design(name), CPU_SCALES, VOCAB_SIZE, stages=STAGES)
    return _median_s(lambda: _sane(request), N_REPEATS)


def _cheap_per_s(name: str) -> float:
    """Designs a second of one core, each new to the process; in CPU time, since others share the machine."""
    numbers = count()
    stages = [stage for stage in CHEAP_STAGES if stage != "unit-tests"]

    def check_fresh() -> None:
        tree = seed_design(name)
        fresh = tree.replace("", _renumbered(tree, next(numbers)))
        _sane(check_request(fresh, CPU_SCALES[:1], VOCAB_SIZE, stages=stages))

    check_fresh()  # imports are paid once a process
    return 1 / _median_s(check_fresh, N_CHEAP, time.process_time)


def _renumbered(tree: UnitTree, number: int) -> Unit:
    return parse_unit(f"{tree.unit.source}# {number}\n")


async def _cached_ms() -> float:
    """From a design in memory to its kept verdict."""
    tree = seed_design("gpt")
    request = check_request(tree, CPU_SCALES, VOCAB_SIZE)
    with tempfile.TemporaryDirectory() as folder:
        async with ForkCage(preload=CHECK_MODULES) as cage:
            verdicts = VerdictCache(Path(folder))
            seconds = []
            for _ in range(N_STARTS + 1):
                started = time.perf_counter()
                await check_design(tree, request, cage, deadline_s=60, verdicts=verdicts)
                seconds.append(time.perf_counter() - started)
    return 1e3 * statistics.median(seconds[1:])


async def _start_ms() -> float:
    """What the cage adds to a job that does nothing."""
    request = {"number": 1}
    async with ForkCage(preload=(*CHECK_MODULES, "benchmarks.checker")) as cage:
        caged, plain = [], []
        for _ in range(N_STARTS + 1):
            started = time.perf_counter()
            await cage.run(START_ENTRY, request, Policy(deadline_s=60))
            caged.append(time.perf_counter() - started)
            started = time.perf_counter()
            answer_at_once(request)
            plain.append(time.perf_counter() - started)
    return 1e3 * (statistics.median(caged[1:]) - statistics.median(plain[1:]))


def _sane(request: dict[str, Any]) -> None:
    report = check(request)
    assert is_sane(report), report["findings"]


def _median_s(work: Callable[[], None], n_repeats: int, clock: Callable[[], float] = time.perf_counter) -> float:
    seconds = []
    for _ in range(n_repeats):
        started = clock()
        work()
        seconds.append(clock() - started)
    return statistics.median(seconds)


if __name__ == "__main__":
    sys.exit(main())
