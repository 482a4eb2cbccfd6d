"""How fast this machine is now, against the one on which the goals in seconds were set (1 = as fast).

Goals that are ratios need none of it. See decisions.md 30 of the design; the reference figures are its facts.
"""

from __future__ import annotations

import math
import os
import sqlite3
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch

SGEMM_GFLOPS = 220.0
COMMITS_PER_S = 5000.0
FORKS_PER_S = 100.0
_SECONDS = 1.0


def speed() -> float:
    """The geometric mean over matrix products, durable commits and forks; about 3 s."""
    with tempfile.TemporaryDirectory(prefix="genesys-calibration-") as folder:
        found = (
            _per_second(_sgemm) * 2 * 1024**3 / 1e9 / SGEMM_GFLOPS,
            _per_second(_commit(Path(folder) / "x.sqlite")) / COMMITS_PER_S,
            _per_second(_fork) / FORKS_PER_S,
        )
    return math.prod(found) ** (1 / len(found))


def _per_second(do: Callable[[], object]) -> float:
    do()
    n, started = 0, time.perf_counter()
    while (passed := time.perf_counter() - started) < _SECONDS:
        do()
        n += 1
    return n / passed


_A = torch.randn(1024, 1024)


def _sgemm() -> object:
    return _A @ _A


def _commit(path: Path) -> Callable[[], object]:
    db = sqlite3.connect(path, isolation_level=None)
    db.executescript("PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; CREATE TABLE t (x TEXT)")
    return lambda: db.execute("INSERT INTO t VALUES (?)", ("x" * 400,))


def _fork() -> None:
    child = os.fork()
    if not child:
        os._exit(0)
    os.waitpid(child, 0)
