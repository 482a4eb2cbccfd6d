"""What one verification costs, before it is run: tokens, FLOPs, memory and disk, in closed form.

Everything is counted for the GPT seed at the scale's own size; a hardware's `slowdown` says what other designs cost
more. Standard library only.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from math import log2

from genesys.ladder.scale import Scale

BYTES_PER_PARAM = 16
"""In training: weights, gradients and two moments of AdamW, in float32."""
BYTES_PER_SAVED_PARAM = 12
"""In a checkpoint: weights and two moments."""
_BYTES_PER_CHANNEL = 34
"""Kept for the backward pass by a block, for each token and channel, in 16 bits. Source: Korthikanti et al. 2022, eq. 2,
without the matrix of attention, which is not kept."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Questions:
    """What a suite asks of one model.

    Attributes:
        n_questions: Likelihoods and generations asked for.
        n_bytes: Of all their texts, contexts repeated.
        unknown: Tasks of the suite whose size is not on record; they are counted as nothing.
    """

    n_questions: int = 0
    n_bytes: int = 0
    unknown: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class VerificationCost:
    """One verification of the GPT seed at a scale.

    Attributes:
        n_tokens: Real tokens trained on, over all entries of the learning-rate grid.
        train_flops: Forward and backward; matrix products alone, attention in full.
        eval_flops: Forward over the suite's questions.
        memory_bytes: The least that fits: one row a micro-batch, 16-bit activations.
        checkpoint_bytes: The newest checkpoint and the one that replaces it.
        weights_bytes: The file that is kept, in float32.
    """

    n_params: int
    n_tokens: int
    train_flops: int
    n_questions: int
    eval_tokens: int
    eval_flops: int
    memory_bytes: int
    checkpoint_bytes: int
    weights_bytes: int


def forward_flops_per_token(scale: Scale, vocab_size: int) -> int:
    """FLOPs of a forward pass of the GPT seed for each token of a full row.

    Two for each weight of the blocks' linear maps and of the head, and 4 `context` x `d_model` a block for attention,
    which is counted in full though half of it is masked, as is usual for MFU. Training costs three times that.
    """
    weights = scale.target_block_params - 2 * scale.d_model * scale.n_blocks  # less the norms
    attention = 4 * scale.context * scale.d_model * scale.n_blocks
    return 2 * (weights + vocab_size * scale.d_model) + attention


def n_params(scale: Scale, vocab_size: int) -> int:
    """Parameters of the GPT seed at a scale's own size; the tied head counts once."""
    return scale.target_block_params + (vocab_size + 1) * scale.d_model


def verification_cost(scale: Scale, vocab_size: int, questions: Questions = Questions()) -> VerificationCost:
    """What one verification at a scale costs on any hardware."""
    forward, size = forward_flops_per_token(scale, vocab_size), n_params(scale, vocab_size)
    n_tokens = scale.n_tokens * len(scale.lr_grid)
    eval_tokens = round(questions.n_bytes / bytes_per_token(vocab_size))
    saved = scale.context * (_BYTES_PER_CHANNEL * scale.d_model * scale.n_blocks + 8 * vocab_size)
    return VerificationCost(
        n_params=size,
        n_tokens=n_tokens,
        train_flops=3 * forward * n_tokens,
        n_questions=questions.n_questions,
        eval_tokens=eval_tokens,
        eval_flops=forward * eval_tokens,
        memory_bytes=BYTES_PER_PARAM * size + saved,
        checkpoint_bytes=2 * BYTES_PER_SAVED_PARAM * size,
        weights_bytes=4 * size,
    )


def bytes_per_token(vocab_size: int) -> float:
    """Of English text, roughly: one up to 512 tokens in the vocabulary, 3.7 at 8,192, 4.3 at 32,000."""
    return 1.0 if vocab_size <= 512 else log2(vocab_size) / 3.5


def questions_of(limits: Mapping[str, int | None]) -> Questions:
    """What a suite asks.

    Args:
        limits: For each task or group, the most documents of each member; None for all.
    """
    known = _tasks()
    n_questions = n_bytes = 0
    for task, limit in limits.items():
        entry = known.get(task, {"members": 0, "documents": 0, "questions": 0, "bytes": 0})
        n = entry["members"] * min(entry["documents"], limit or entry["documents"]) * entry["questions"]
        n_questions, n_bytes = n_questions + n, n_bytes + n * entry["bytes"]
    unknown = tuple(task for task in limits if task not in known)
    return Questions(n_questions=n_questions, n_bytes=n_bytes, unknown=unknown)


@cache
def _tasks() -> dict[str, dict[str, int]]:
    text = (resources.files("genesys.ladder") / "tasks.json").read_text(encoding="utf-8")
    tasks: dict[str, dict[str, int]] = json.loads(text)["tasks"]
    return tasks
