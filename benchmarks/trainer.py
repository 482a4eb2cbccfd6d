"""Tokens per second of our trainer against a bare loop on the same model, data and recipe, as it is and compiled.

Both take turns, so that a busy machine hits both; the ratio is the median of the turns' ratios. Goal: at least 0.9.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import torch
from torch.nn import functional as F

from benchmarks._report import Report
from genesys.gau.library import seed_design
from genesys.ladder import CPU_SCALES, Scale
from genesys.model import GAM, ModelShape, build_model
from genesys.train.compilation import CompileRequest, keep_artefacts
from genesys.train.data.corpus import VOCAB_SIZE, Corpus
from genesys.train.data.shards import Shards, write_shards
from genesys.train.execution import Means
from genesys.train.trainer import TrainingPlan, train_model

GOAL = 0.9
N_TURNS, N_STEPS = 7, 30


def bare_loop(model: GAM, shards: Shards, scale: Scale) -> float:
    """Train as nanoGPT does: random offsets, AdamW, clipping, the loss read every step; gives tokens per second."""
    tokens = torch.from_numpy(shards.tokens("train").astype("int64"))
    optimizer = torch.optim.AdamW(model.parameters(), lr=scale.peak_lr, weight_decay=0.0)
    n_rows = scale.batch_tokens // scale.context
    started = time.perf_counter()
    for _ in range(scale.n_steps):
        starts = torch.randint(len(tokens) - scale.context - 1, (n_rows,)).tolist()
        x = torch.stack([tokens[i : i + scale.context] for i in starts])
        y = torch.stack([tokens[i + 1 : i + 1 + scale.context] for i in starts])
        loss = F.cross_entropy(model(x).flatten(0, 1), y.flatten())
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        loss.item()
    return scale.n_steps * scale.batch_tokens / (time.perf_counter() - started)


def our_loop(model: GAM, shards: Shards, scale: Scale, out: Path, compile: CompileRequest) -> float:
    plan = TrainingPlan(
        scale=scale,
        seed=0,
        shards=shards,
        out=out,
        fingerprint="benchmark",
        checkpoint_every_s=None,
        means=Means(compile=compile),
    )
    result = train_model(model, plan)
    assert compile == "off" or result.compiled == "yes", result.compiled
    return result.tokens_per_s


def build(scale: Scale) -> GAM:
    shape = ModelShape(vocab_size=VOCAB_SIZE, d_model=scale.d_model, n_blocks=scale.n_blocks)
    return build_model(seed_design("gpt"), shape, seed=0)


def synthetic_shards(folder: Path) -> Shards:
    """Random printable bytes: speed does not depend on what the text says."""
    generator = torch.Generator().manual_seed(0)
    texts = torch.randint(32, 127, (400, 2000), generator=generator).tolist()
    return write_shards(Corpus(name="random", documents=[bytes(t).decode() for t in texts]), folder)


def compare(name: str, scale: Scale, report: Report, compile: CompileRequest) -> None:
    """Measure one recipe in turns; each side keeps its model, so that it is compiled once."""
    ours, bare = [], []
    our_model, bare_model = build(scale), build(scale)
    if compile == "on":
        for part in (*bare_model.blocks, bare_model.norm):
            part.compile()
    with tempfile.TemporaryDirectory() as folder:
        keep_artefacts(Path(folder), [])
        shards = synthetic_shards(Path(folder) / "shards")
        for turn in range(N_TURNS + 1):
            pair = our_loop(our_model, shards, scale, Path(folder), compile), bare_loop(bare_model, shards, scale)
            if turn:  # the first turn warms up
                ours.append(pair[0])
                bare.append(pair[1])
    report.add(f"{name} trainer", statistics.median(ours), "tokens/s")
    report.add(f"{name} bare loop", statistics.median(bare), "tokens/s")
    ratio = statistics.median(a / b for a, b in zip(ours, bare, strict=True))
    report.add(f"{name} ratio", ratio, "trainer / bare", at_least=GOAL)


def main() -> int:
    torch.set_num_threads(1)
    report = Report("trainer")
    for name, batch_tokens in (("cpu-1", CPU_SCALES[0].batch_tokens), ("cpu-1 batch 2048", 2048)):
        scale = replace(CPU_SCALES[0], batch_tokens=batch_tokens, n_tokens=N_STEPS * batch_tokens)
        compare(name, scale, report, "off")
    compare("cpu-1 batch 2048 compiled", scale, report, "on")
    return report.exit_code


if __name__ == "__main__":
    sys.exit(main())
