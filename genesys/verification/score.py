"""The losses of trained weights on held-out text, computed outside the cage."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from genesys.evaluate.bits import bits_per_byte, by_document, unigram_nats, windows
from genesys.evaluate.questions import Question
from genesys.evaluate.splits import Documents, open_splits, validation_rows
from genesys.verification.audit import audit, draw_picks, secret_generator
from genesys.verification.jobs import Jobs
from genesys.verification.states import CagedModel, Inquiry, Reading, ask

MAX_TEST_BYTES = 65_536
"""Whole documents of the test split are read up to this size."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldOut:
    """What the trained weights are asked, and the token counts of the train split that the baseline stands on.

    Attributes:
        shards_hash: Of the folder that all of it comes from.
        val_RL: Rows of inputs and next tokens, those of the trainer's own validation loss.
    """

    shards_hash: str
    val_RL: NDArray[np.int64]
    documents: Documents
    train_counts_V: NDArray[np.int64]


@lru_cache(maxsize=4)
def load_held_out(shards: str, context: int) -> HeldOut:
    """Read and check the three splits.

    Raises:
        JobFailed: The folder's content is not what its manifest says.
    """
    splits = open_splits(Path(shards))
    splits.check()
    return HeldOut(
        shards_hash=splits.hash,
        val_RL=validation_rows(splits.tokens("val"), context),
        documents=splits.documents("test", MAX_TEST_BYTES),
        train_counts_V=splits.train_counts(),
    )


async def held_out(jobs: Jobs) -> HeldOut:
    """What this verification's weights are asked; read once for many verifications on the same data."""
    return await asyncio.to_thread(load_held_out, jobs.request.shards, int(jobs.request.scale["context"]))


async def score_text(jobs: Jobs, model: CagedModel) -> dict[str, Any]:
    """Score weights on held-out text from their hidden states, and audit that they were given without a look ahead.

    Returns:
        `design_id`, `weights_sha256` and `shards_hash` of what was scored; `val_loss_nats` on the trainer's rows, and
        the same of an untrained copy; `test_bpb` with its error beside the `unigram_bpb`; the `audit`.

    Raises:
        JobFailed: The job failed, its states are not what was asked for or not finite, or the audit did not hold.
    """
    context, rng = int(jobs.request.scale["context"]), secret_generator()
    data = await held_out(jobs)
    val = _inquiry(data.val_RL, rng)
    test = _inquiry([row for rows in windows(data.documents, context) for row in rows], rng)
    untrained = Inquiry(questions=val.questions, trained=False)
    before, *readings = await ask(jobs, "evaluate", model, [untrained, val, test])
    audited = await audit(jobs, "evaluate", model, [val, test], readings, rng)
    return {
        "design_id": model.design_id,
        "weights_sha256": model.weights_sha256,
        "shards_hash": data.shards_hash,
        "val_loss_nats": _mean_nats(readings[0]),
        "untrained_val_loss_nats": _mean_nats(before),
        **_bits(data, by_document([answer.nats_T for answer in readings[1].answers], data.documents)),
        "audit": asdict(audited),
    }


def _inquiry(rows: Iterable[NDArray[np.int64]], rng: Generator) -> Inquiry:
    """Rows of inputs and their next tokens, each asked about at every place."""
    questions = [Question(row[:-1], row[1:]) for row in rows]
    asked = [np.ones(len(question.targets_T), dtype=bool) for question in questions]
    return Inquiry(questions=questions, picks=draw_picks(rng, asked))


def _mean_nats(reading: Reading) -> float:
    return float(np.concatenate([answer.nats_T for answer in reading.answers]).mean())


def _bits(data: HeldOut, nats: Sequence[NDArray[np.float64]]) -> Mapping[str, float]:
    test = bits_per_byte(nats, data.documents)
    unigram = bits_per_byte(unigram_nats(data.train_counts_V, data.documents), data.documents)
    return {
        "test_bpb": test.value,
        "test_bpb_se": test.se,
        "unigram_bpb": unigram.value,
        "n_test_bytes": test.n_bytes,
        "n_test_documents": test.n_documents,
    }
