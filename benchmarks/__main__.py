"""Run every benchmark in a process of its own; ends non-zero when a goal is missed."""

from __future__ import annotations

import subprocess
import sys

BENCHMARKS = (
    "size_tuner", "gau_tax", "trainer", "checker", "packing", "eval", "books", "utilisation", "lifecycle", "factorisation",
    "agents",
)  # fmt: skip

if __name__ == "__main__":
    failed = [name for name in BENCHMARKS if subprocess.run([sys.executable, "-m", f"benchmarks.{name}"]).returncode]
    if failed:
        sys.exit(f"missed a goal: {', '.join(failed)}")
