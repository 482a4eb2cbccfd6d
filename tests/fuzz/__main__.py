"""`python -m tests.fuzz TARGET --runs N [--seed S]`: a campaign, guided by coverage where `atheris` is installed."""

from __future__ import annotations

import argparse
import sys
import time
from random import Random

from tests.fuzz.targets import TARGETS, mutated, seeds


def main() -> None:
    """Run one target on many inputs; an input that breaks it is printed, and ends the run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("target", choices=TARGETS)
    parser.add_argument("--runs", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    started, rng, corpus = time.monotonic(), Random(options.seed), seeds(options.target)
    try:
        import atheris
    except ImportError:
        slowest = 0.0
        for _ in range(options.runs):
            data = mutated(rng.choice(corpus), rng)
            before = time.perf_counter()
            _try(options.target, data)
            slowest = max(slowest, time.perf_counter() - before)
        took = time.monotonic() - started
        print(f"{options.target}: {options.runs:,} inputs in {took:.0f} s, slowest {slowest * 1e3:.0f} ms, no crash")
        return
    atheris.instrument_all()

    def guided(data: bytes) -> None:
        source = Random(data)
        _try(options.target, data if source.random() < 0.2 else mutated(source.choice(corpus), source))

    atheris.Setup([sys.argv[0], f"-runs={options.runs}", f"-seed={options.seed + 1}", "-timeout=10"], guided)
    atheris.Fuzz()


def _try(target: str, data: bytes) -> None:
    try:
        TARGETS[target](data)
    except BaseException:
        print(f"{target} broke on: {data!r}", file=sys.stderr)
        raise


if __name__ == "__main__":
    main()
