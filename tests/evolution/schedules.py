"""Many random schedules of the simulator: `python -m tests.evolution.schedules --n 100000 --seed 7`.

Goes on where it was interrupted: each block of schedules is a line of `--log`. One that breaks a law is named by its number
and stays to be looked at: `--show NUMBER` lives through it again and prints its journal and its faults.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections import Counter
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from genesys.errors import GenesysError
from genesys.testing.simulation import AuditError, random_schedule, simulate, trace

BLOCK = 250
PER_SEED = 10_000_000  # numbers of schedules that belong to one seed


def live_through(first: int, n: int) -> dict[str, Any]:
    """Simulate a block of schedules; what happened in them, added up."""
    began, total, broken = time.process_time(), Counter[str](), {}
    for number in range(first, first + n):
        try:
            outcome = simulate(random_schedule(number))
        except (AuditError, GenesysError, AssertionError) as error:
            broken[number] = f"{type(error).__name__}: {error}"[:300]
            continue
        total.update(
            schedules=1, events=len(outcome.entries), commits=len(outcome.commits), sessions=outcome.n_sessions,
            torn=outcome.n_torn, poisoned=outcome.n_poisoned, virtual_hours=int(outcome.seconds / 360) / 10,
            spent=int(outcome.reason == "every quota is spent"), faults=len(outcome.faults),
        )  # fmt: skip
        total.update(name for _, name in outcome.faults)
    return {"first": first, "n": n, "cpu_s": time.process_time() - began, "total": total, "broken": broken}


def _block(job: tuple[int, int]) -> dict[str, Any]:
    return live_through(*job)


def campaign(seed: int, n: int, log: Path, *, processes: int) -> int:
    """Live through `n` schedules of a seed, but for those that stand in the log; gives how many broke a law."""
    log.parent.mkdir(parents=True, exist_ok=True)
    done = [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []
    first = seed * PER_SEED
    known = {block["first"] for block in done}
    jobs = [(at, min(BLOCK, first + n - at)) for at in range(first, first + n, BLOCK) if at not in known]
    done = [block for block in done if first <= block["first"] < first + n]
    if jobs:
        # spawned: a test session's process has Ray's threads and signal handlers, with which a fork may hang for ever
        with get_context("spawn").Pool(processes) as pool, log.open("a") as lines:
            for block in pool.imap_unordered(_block, jobs):
                done.append(block)
                print(json.dumps(block), file=lines, flush=True)
                n_done, n_broken = sum(b["n"] for b in done), sum(len(b["broken"]) for b in done)
                print(f"{n_done:>7} of {n}, {n_broken} broken", flush=True)
    return _report(done)


def _report(done: list[dict[str, Any]]) -> int:
    total: Counter[str] = Counter()
    for block in done:
        total.update(block["total"])
    broken = {number: why for block in done for number, why in block["broken"].items()}
    cpu_s = sum(block["cpu_s"] for block in done)
    print(json.dumps({name: round(value, 1) for name, value in sorted(total.items())}))
    print(f"{1e3 * cpu_s / max(1, sum(b['n'] for b in done)):.1f} ms of processor time a schedule")
    for number, why in broken.items():
        print(f"schedule {number}: {why}")
    return len(broken)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--n", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--log", type=Path, default=Path("runs/schedules.jsonl"))
    parser.add_argument("--show", type=int, help="number of a schedule to live through alone")
    arguments = parser.parse_args()
    if arguments.show is not None:
        print(random_schedule(arguments.show))
        print("\n".join(trace(simulate(random_schedule(arguments.show)))))
        return 0
    return campaign(arguments.seed, arguments.n, arguments.log, processes=arguments.processes)


if __name__ == "__main__":
    sys.exit(min(1, main()))
