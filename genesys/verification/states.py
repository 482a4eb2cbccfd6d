"""Hidden states of a caged model, turned on the trusted side into answers.

The cage is given rows of input tokens and writes its states after the last norm, float32; it never learns which token
counts. The head is ours: logits are the states times the embedding, whose rows stand in the weights file. A file is accepted
only with exactly the bytes that its rows ask for, and is read a batch at a time, never mapped.

Shapes: P places in a batch, K targets there, D model width, V vocabulary.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from genesys.errors import JobFailed
from genesys.evaluate.questions import Answer, Batch, Question, collect, plan, score
from genesys.sandbox.filesystem import shared_folder
from genesys.verification.claims import open_claim, read_numbers, tensor
from genesys.verification.jobs import Jobs

STATES_ENTRY = "genesys.evaluate.job:states"
MAX_JOB_BYTES = 256 * 2**20
"""States of one job; of one batch, where a single batch takes more."""
BATCH_TOKENS = 2048
_EMBEDDING = "embedding.weight"

Logits = NDArray[np.float32]


@dataclass(frozen=True, slots=True, kw_only=True)
class CagedModel:
    """The model that a job builds: the entry's request without its batches."""

    tree: Mapping[str, Any]
    shape: Mapping[str, int]
    seed: int
    embedding_std: float
    weights: Path
    weights_sha256: str
    design_id: str
    n_threads: int = 1
    probe: str = ""

    @property
    def width(self) -> int:
        """D."""
        return int(self.shape["d_model"])

    @property
    def n_vocab(self) -> int:
        """V."""
        return int(self.shape["vocab_size"])

    def to_json(self) -> dict[str, Any]:
        """The model's part of a job's request."""
        return {
            "tree": self.tree,
            "shape": dict(self.shape),
            "seed": self.seed,
            "embedding_std": self.embedding_std,
            "n_threads": self.n_threads,
            "probe": self.probe,
            "weights": str(self.weights),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Inquiry:
    """Questions to a model.

    Attributes:
        picks: By index of a question, which of its T targets' places the audit looks at: the logits there are kept.
        trained: Whether the trained weights answer, or the initial ones.
        share: Whether a row that begins another may be read off that one (see `plan`).
    """

    questions: Sequence[Question]
    picks: Mapping[int, int] = field(default_factory=dict)
    trained: bool = True
    share: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """What came of an inquiry: an answer to each question, how far each target's logit was below the highest, and the
    logits at the picks, (V,) each."""

    answers: list[Answer]
    behind: list[NDArray[np.float64]]
    picked: Mapping[int, Logits]


@dataclass(frozen=True, slots=True)
class _Pass:
    """One batch of one inquiry."""

    owner: int
    batch: Batch
    trained: bool

    def n_bytes(self, width: int) -> int:
        return len(self.batch.rows_P) * width * 4


async def ask(jobs: Jobs, stage: str, model: CagedModel, inquiries: Sequence[Inquiry]) -> list[Reading]:
    """Let a fresh child answer, several children one after the other if their states are many.

    Raises:
        JobFailed: Cause "integrity": a file is missing or of another size, or the job built another design or read
            other weights; "non-finite": a logit is no finite number.
    """
    found = (
        _Pass(owner, batch, inquiry.trained)
        for owner, inquiry in enumerate(inquiries)
        for batch in plan(inquiry.questions, max_tokens=BATCH_TOKENS, share=inquiry.share)
    )
    passes = sorted(found, key=lambda item: item.trained)  # the initial weights are there before the trained ones
    read: list[_Read] = []
    for group in _groups(passes, model.width):
        read += await _run_job(jobs, stage, model, group, inquiries)
    return [
        _join([item for item, seen in zip(read, passes, strict=True) if seen.owner == owner])
        for owner in range(len(inquiries))
    ]


async def _run_job(
    jobs: Jobs, stage: str, model: CagedModel, passes: Sequence[_Pass], inquiries: Sequence[Inquiry]
) -> list[_Read]:
    with shared_folder("genesys-score-") as folder:
        asked, out = folder / "asked", folder / "out"
        for path in (asked, out):
            path.mkdir(mode=0o711)
        _write(asked / "rows", [item.batch.inputs_BL for item in passes])
        _write(asked / "places", [_flat_places(item.batch) for item in passes])
        request = model.to_json() | {
            "rows": str(asked / "rows"),
            "places": str(asked / "places"),
            "states": str(out / "states"),
            "embedding": str(out / "embedding"),
            "batches": [[*item.batch.inputs_BL.shape, len(item.batch.rows_P), item.trained] for item in passes],
        }
        n_bytes = sum(item.n_bytes(model.width) for item in passes) + 4 * model.n_vocab * model.width
        readable = (asked / "rows", asked / "places", model.weights)
        answer = await jobs.write(stage, STATES_ENTRY, request, folder=out, n_bytes=n_bytes, readable=readable)
        _check_answer(model, answer, trained=any(item.trained for item in passes))
        return await asyncio.to_thread(_read, model, passes, inquiries, out)


def _write(path: Path, arrays: Sequence[NDArray[np.int64]]) -> None:
    with path.open("wb") as file:
        for array in arrays:
            array.astype("<i4").tofile(file)


def _flat_places(batch: Batch) -> NDArray[np.int64]:
    places: NDArray[np.int64] = batch.rows_P * batch.inputs_BL.shape[1] + batch.places_P
    return places


def _check_answer(model: CagedModel, answer: Mapping[str, Any], *, trained: bool) -> None:
    expected = {"design_id": model.design_id, "weights_sha256": model.weights_sha256 if trained else ""}
    for key, ours in expected.items():
        theirs = answer.get(key)
        if theirs != ours:
            raise JobFailed(
                "integrity",
                f"Cannot score design {model.design_id[:12]}: the job's {key} is {theirs!r:.80}; expected {ours!r}.",
            )


@dataclass(frozen=True, slots=True)
class _Read:
    """What is kept of a pass."""

    batch: Batch
    answer: Answer
    behind_K: NDArray[np.float64]
    picked: Mapping[int, Logits]


def _read(model: CagedModel, passes: Sequence[_Pass], inquiries: Sequence[Inquiry], out: Path) -> list[_Read]:
    """Reduce a file of states, batch by batch."""
    heads = {trained: _head(model, out, trained=trained) for trained in {item.trained for item in passes}}
    sizes = [item.n_bytes(model.width) for item in passes]
    return [
        _reduce(data, item.batch, heads[item.trained], inquiries[item.owner].picks)
        for item, data in zip(passes, _pieces(out / "states", sizes), strict=True)
    ]


def _head(model: CagedModel, out: Path, *, trained: bool) -> Logits:
    """The embedding, (V, D), from the weights; of the initial weights, which stand in no file, what the job says."""
    shape = (model.n_vocab, model.width)
    if trained:
        return tensor(model.weights, _EMBEDDING, shape)
    return read_numbers(out / "embedding", model.n_vocab * model.width, "<f4").reshape(shape)


def _reduce(data: bytes, batch: Batch, head_VD: Logits, picks: Mapping[int, int]) -> _Read:
    states_PD = np.frombuffer(data, dtype="<f4").reshape(len(batch.rows_P), -1)
    with np.errstate(all="ignore"):
        logits_PV = states_PD @ head_VD.T
    if not np.isfinite(logits_PV).all():
        raise JobFailed("non-finite", f"Cannot score: a logit of {len(batch.inputs_BL)} rows is not finite.")
    behind_K = (logits_PV.max(-1)[batch.picks_K] - logits_PV[batch.picks_K, batch.targets_K]).astype(np.float64)
    starts_Q = np.cumsum(batch.sizes_Q) - batch.sizes_Q
    picked = {
        int(q): logits_PV[batch.picks_K[start + picks[int(q)]]].copy()
        for q, start in zip(batch.questions_Q, starts_Q, strict=True)
        if int(q) in picks
    }
    return _Read(batch, score(logits_PV, batch), behind_K, picked)


def _pieces(path: Path, sizes: Sequence[int]) -> Iterator[bytes]:
    """The content of a file that must have exactly these bytes, piece by piece."""
    with open_claim(path) as (file, size):
        if size != sum(sizes):
            raise JobFailed("integrity", f"Cannot read the job's {path.name}: {size:,} bytes; expected {sum(sizes):,}.")
        for n_bytes in sizes:
            data = file.read(n_bytes)
            if len(data) != n_bytes:
                raise JobFailed("integrity", f"Cannot read the job's {path.name}: it ends before its {size:,} bytes.")
            yield data


def _groups(passes: Sequence[_Pass], width: int) -> Iterator[list[_Pass]]:
    """The passes dealt to jobs in their order; each job's states stay below the cap where a single batch's do."""
    group: list[_Pass] = []
    for item in passes:
        if group and sum(other.n_bytes(width) for other in group) + item.n_bytes(width) > MAX_JOB_BYTES:
            yield group
            group = []
        group.append(item)
    if group:
        yield group


def _join(read: Sequence[_Read]) -> Reading:
    batches = [item.batch for item in read]
    behind = collect(batches, [Answer(item.behind_K, item.answer.right_T) for item in read])
    return Reading(
        answers=collect(batches, [item.answer for item in read]),
        behind=[found.nats_T for found in behind],
        picked={q: logits for item in read for q, logits in item.picked.items()},
    )
