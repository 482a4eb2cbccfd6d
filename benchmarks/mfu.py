"""How much of a card's dense bf16 peak the trainer turns into the GPT seed's training; needs a CUDA card.

MFU is three times the forward pass's FLOPs, as torch's FlopCounterMode counts them (attention as if not causal, as the
literature does; nothing for what is recomputed), over the seconds of whole steps and the data sheet's peak. Compiling
and the memory probe come before the steps and are told apart. Text is random bytes: speed does not depend on it.
Goals: 35, 42, 48 and 52% at 31M (vocabulary 8,192), 70M, 125M and 350M; 14M on 106M tokens in 60 s.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from benchmarks._report import Report
from benchmarks.trainer import synthetic_shards
from genesys.gau.library import seed_design
from genesys.ladder import PAPER_SCALES
from genesys.model import ModelShape, build_model
from genesys.train.execution import Means
from genesys.train.trainer import TrainingPlan, train_model


@dataclass(frozen=True, slots=True)
class Case:
    """One scale's measurement: how many steps, and what is hoped for."""

    vocab_size: int
    n_steps: int
    mfu: float | None = None
    seconds: float | None = None


CASES = {
    "14M": Case(32_000, 202, seconds=60.0),  # 106M tokens
    "31M": Case(8_192, 60, mfu=0.35),
    "70M": Case(32_000, 30, mfu=0.42),
    "125M": Case(32_000, 15, mfu=0.48),
    "350M": Case(32_000, 10, mfu=0.52),
}


def measure(name: str) -> Report:
    """Train one scale for its steps, compiled."""
    case, report = CASES[name], Report("mfu")
    scale = next(scale for scale in PAPER_SCALES if scale.name == name)
    scale = replace(scale, n_tokens=case.n_steps * scale.batch_tokens)
    shape = ModelShape(vocab_size=case.vocab_size, d_model=scale.d_model, n_blocks=scale.n_blocks)
    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        plan = TrainingPlan(
            scale=scale,
            seed=0,
            shards=synthetic_shards(Path(folder) / "shards"),
            out=Path(folder),
            fingerprint="benchmark",
            checkpoint_every_s=None,
            means=Means(compile="on"),
        )
        result = train_model(build_model(seed_design("gpt"), shape, seed=0), plan)
    before_s = time.perf_counter() - started - result.seconds
    report.add(f"{name} compiled ({result.compiled}), {result.dtype}", result.micro_batch_rows, "rows in a micro-batch")
    report.add(f"{name} speed", result.tokens_per_s, "tokens/s")
    report.add(f"{name} before the first step", before_s, "s")
    report.add(f"{name} memory", result.peak_memory_mb, "MB")
    report.add(f"{name} steps", result.seconds, f"s for {result.n_tokens / 1e6:.0f}M tokens", at_most=case.seconds)
    if result.mfu is not None:
        report.add(f"{name} MFU", result.mfu, "of dense bf16 peak", at_least=case.mfu)
    return report


def main(names: list[str]) -> int:
    if not torch.cuda.is_available():
        print("benchmarks.mfu needs a CUDA card; nothing was measured")
        return 0
    if len(names) == 1:
        return measure(names[0]).exit_code
    # a process holds one engine world
    return max(subprocess.run([sys.executable, "-m", "benchmarks.mfu", name]).returncode for name in names or CASES)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
