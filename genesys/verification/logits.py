"""Raw logits of a caged model, reduced on the trusted side to what the figures need.

The cage is given rows of input tokens and writes float32 numbers; it never learns which of them count. A file is
accepted only with exactly the bytes that its rows ask for, and is read a few rows at a time, never mapped.

Shapes: N rows, L length, V vocabulary.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from genesys.errors import JobFailed
from genesys.evaluate.bits import target_nats
from genesys.sandbox.filesystem import shared_folder
from genesys.verification.claims import open_claim
from genesys.verification.jobs import Jobs

MAX_JOB_BYTES = 256 * 2**20
"""Logits of one job; of one row, where a single row takes more."""
LOGITS_ENTRY = "genesys.evaluate.job:logits"
_CHUNK_BYTES = 4 * 2**20

Rows = NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class CagedModel:
    """The model that a job builds: the entry's request without its passes."""

    tree: Mapping[str, Any]
    shape: Mapping[str, int]
    seed: int
    embedding_std: float
    weights: Path
    weights_sha256: str
    design_id: str
    n_threads: int = 1
    probe: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Pass:
    """Rows for a model to answer.

    Attributes:
        rows_NL: Input tokens.
        targets_NL: What is asked at each place; stays outside the cage. Places that count for nothing hold any token.
        picks_N: For each row the position whose logits are kept.
        trained: Whether the trained weights answer, or the initial ones.
    """

    rows_NL: Rows
    targets_NL: Rows
    picks_N: NDArray[np.int64]
    trained: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """What is kept of a pass: each target's loss, whether it was the first choice, and each row's picked logits."""

    nats_NL: NDArray[np.float64]
    right_NL: NDArray[np.bool_]
    picked_NV: NDArray[np.float32]


async def run_passes(jobs: Jobs, stage: str, model: CagedModel, passes: Sequence[Pass]) -> list[Reading]:
    """Let a fresh child answer the passes, several children one after the other if their logits are many.

    Raises:
        JobFailed: Cause "integrity": a file is missing or of another size, or the job built another design or read
            other weights; "non-finite": a logit is no finite number.
    """
    parts = [(i, part) for i, item in enumerate(passes) for part in _split(item, _n_vocab(model))]
    readings: list[tuple[int, Reading]] = []
    for batch in _batches(parts, _n_vocab(model)):
        read = await _run_job(jobs, stage, model, [part for _, part in batch])
        readings += zip((i for i, _ in batch), read, strict=True)
    return [_join([reading for owner, reading in readings if owner == i]) for i in range(len(passes))]


async def _run_job(jobs: Jobs, stage: str, model: CagedModel, passes: Sequence[Pass]) -> list[Reading]:
    with shared_folder("genesys-score-") as folder:
        rows, logits = folder / "rows", folder / "logits"
        for path in (rows, logits):
            path.mkdir(mode=0o711)
        for i, item in enumerate(passes):
            item.rows_NL.astype("<i4").tofile(rows / str(i))
        n_bytes = sum(_n_bytes(item, _n_vocab(model)) for item in passes)
        request = _request(model, passes, rows, logits)
        readable = (*(rows / str(i) for i in range(len(passes))), model.weights)
        answer = await jobs.write(stage, LOGITS_ENTRY, request, folder=logits, n_bytes=n_bytes, readable=readable)
        _check_answer(model, answer, trained=any(item.trained for item in passes))
        return await asyncio.to_thread(
            lambda: [_read(logits / str(i), item, _n_vocab(model)) for i, item in enumerate(passes)]
        )


def _request(model: CagedModel, passes: Sequence[Pass], rows: Path, logits: Path) -> dict[str, Any]:
    return {
        "tree": model.tree,
        "shape": dict(model.shape),
        "seed": model.seed,
        "embedding_std": model.embedding_std,
        "n_threads": model.n_threads,
        "probe": model.probe,
        "weights": str(model.weights),
        "passes": [
            {
                "rows": str(rows / str(i)),
                "length": item.rows_NL.shape[1],
                "logits": str(logits / str(i)),
                "trained": item.trained,
            }
            for i, item in enumerate(passes)
        ],
    }


def _check_answer(model: CagedModel, answer: Mapping[str, Any], *, trained: bool) -> None:
    expected = {"design_id": model.design_id, "weights_sha256": model.weights_sha256 if trained else ""}
    for key, ours in expected.items():
        theirs = answer.get(key)
        if theirs != ours:
            raise JobFailed(
                "integrity",
                f"Cannot score design {model.design_id[:12]}: the job's {key} is {theirs!r:.80}; expected {ours!r}.",
            )


def _read(path: Path, item: Pass, n_vocab: int) -> Reading:
    """Reduce a file of logits.

    The first choice is the argmax, of equal ones the lowest token: a model that finds all tokens alike is not right.
    """
    n, length = item.rows_NL.shape
    nats, right = np.empty((n, length)), np.empty((n, length), dtype=bool)
    picked = np.empty((n, n_vocab), dtype=np.float32)
    for start, logits_BLV in _chunks(path, (n, length, n_vocab)):
        stop = start + len(logits_BLV)
        if not np.isfinite(logits_BLV).all():
            raise JobFailed("non-finite", f"Cannot score: a logit of rows {start} to {stop - 1} is not finite.")
        targets_BL = item.targets_NL[start:stop]
        nats[start:stop] = target_nats(logits_BLV, targets_BL)
        right[start:stop] = logits_BLV.argmax(-1) == targets_BL
        picked[start:stop] = logits_BLV[np.arange(stop - start), item.picks_N[start:stop]]
    return Reading(nats_NL=nats, right_NL=right, picked_NV=picked)


def _chunks(path: Path, shape: tuple[int, int, int]) -> Iterator[tuple[int, NDArray[np.float32]]]:
    n, length, n_vocab = shape
    row_bytes = length * n_vocab * 4
    with open_claim(path) as (file, size):
        if size != n * row_bytes:
            raise JobFailed(
                "integrity", f"Cannot read the logits of {n} rows: {size:,} bytes; expected {n * row_bytes:,}."
            )
        step = max(1, _CHUNK_BYTES // row_bytes)
        for start in range(0, n, step):
            data = bytearray(min(step, n - start) * row_bytes)
            if file.readinto(data) != len(data):
                raise JobFailed("integrity", f"Cannot read the logits of row {start}: the file ends before it does.")
            yield start, np.frombuffer(data, dtype="<f4").reshape(-1, length, n_vocab)


def _n_vocab(model: CagedModel) -> int:
    return int(model.shape["vocab_size"])


def _n_bytes(item: Pass, n_vocab: int) -> int:
    return item.rows_NL.size * n_vocab * 4


def _split(item: Pass, n_vocab: int) -> Iterator[Pass]:
    """The pass in pieces that one job may answer."""
    step = max(1, MAX_JOB_BYTES // (item.rows_NL.shape[1] * n_vocab * 4))
    for start in range(0, len(item.rows_NL), step):
        part = slice(start, start + step)
        rows, targets, picks = item.rows_NL[part], item.targets_NL[part], item.picks_N[part]
        yield Pass(rows_NL=rows, targets_NL=targets, picks_N=picks, trained=item.trained)


def _batches(parts: Sequence[tuple[int, Pass]], n_vocab: int) -> Iterator[list[tuple[int, Pass]]]:
    """The pieces dealt to jobs in their order; each job's logits stay below the cap where a single row's do."""
    batch: list[tuple[int, Pass]] = []
    for part in parts:
        if batch and sum(_n_bytes(item, n_vocab) for _, item in [*batch, part]) > MAX_JOB_BYTES:
            yield batch
            batch = []
        batch.append(part)
    if batch:
        yield batch


def _join(readings: Sequence[Reading]) -> Reading:
    return Reading(
        nats_NL=np.concatenate([r.nats_NL for r in readings]),
        right_NL=np.concatenate([r.right_NL for r in readings]),
        picked_NV=np.concatenate([r.picked_NV for r in readings]),
    )
