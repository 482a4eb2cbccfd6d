"""What an evaluation asks of a model, and what it is told: plain arrays, so that asker and model share no library.

Whoever answers turns the questions into batches with `plan`, takes the losses from logits with `score`, and puts the
answers back with `collect`. numpy only.

Shapes: L inputs, T targets (T from 1 to L); in a batch B rows, L inputs of the longest, P places asked at, K targets
asked for (several questions may ask at one place, so P <= K), Q questions, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Tokens = NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class Question:
    """How likely are these targets? They are the next tokens of the last T inputs."""

    inputs_L: Tokens
    targets_T: Tokens


@dataclass(frozen=True, slots=True, eq=False)
class Answer:
    """Each target's loss in nats, and whether it was the first choice (of equals, the lowest token)."""

    nats_T: NDArray[np.float64]
    right_T: NDArray[np.bool_]


class TokenModel(Protocol):
    """A model that answers; rows longer than its context are the asker's to cut."""

    @property
    def context(self) -> int:
        """The most inputs that a row may have."""
        ...

    def answer(self, questions: Sequence[Question]) -> list[Answer]:
        """Answer each question, in their order."""
        ...

    def extend(self, prompts: Sequence[Tokens], n_tokens: int) -> list[Tokens]:
        """The `n_tokens` greedily chosen tokens after each prompt; a prompt is cut to its last tokens as it grows."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Batch:
    """Rows for one pass of a causal model, and what is to be read from it.

    Attributes:
        inputs_BL: The rows, the longest first, padded on the right with token 0; a causal model cannot see the padding.
        rows_P, places_P: Where a prediction is read; each place once, row by row from left to right.
        picks_K, targets_K: Each target, and at which of the P places it is predicted; question by question.
        questions_Q, sizes_Q: The questions (their index in what was planned) and how many of the K are theirs.
    """

    inputs_BL: Tokens
    rows_P: Tokens
    places_P: Tokens
    picks_K: Tokens
    targets_K: Tokens
    questions_Q: Tokens
    sizes_Q: Tokens


def plan(questions: Sequence[Question], *, max_tokens: int = 16_384, share: bool = True) -> list[Batch]:
    """Batches that together hold each question once; the same for any order of the questions.

    Rows are sorted by length. Equal rows become one, and a row that begins another is asked as a part of it: what a
    causal model predicts in the shorter row it predicts at the same places of the longer one.

    Args:
        questions: Any number, of any lengths.
        max_tokens: The most tokens in a batch, padding included; a longer row stands alone.
        share: False keeps a row that begins another apart: then nothing of a question stands in another's row.
    """
    rows, row_of = _distinct_rows(questions, share=share)
    asked: list[list[int]] = [[] for _ in rows]
    for i, row in enumerate(row_of):
        asked[row].append(i)
    batches, start = [], 0
    while start < len(rows):
        n = max(1, max_tokens // len(rows[start]))
        batches.append(_batch(rows[start : start + n], asked[start : start + n], questions))
        start += n
    return batches


def _distinct_rows(questions: Sequence[Question], *, share: bool) -> tuple[list[Tokens], list[int]]:
    """The rows that do not begin another, the longest first, and which of them holds each question."""
    keys = [question.inputs_L.astype(">u4").tobytes() for question in questions]  # ordered as the tokens are
    holder: dict[bytes, bytes] = {}
    longest = b""
    for key in sorted(set(keys), reverse=True):  # what begins others follows the last of them at once
        longest = holder[key] = longest if share and longest.startswith(key) else key
    rows = sorted(set(holder.values()), key=lambda key: (-len(key), key))
    index = {key: i for i, key in enumerate(rows)}
    return [np.frombuffer(key, ">u4").astype(np.int64) for key in rows], [index[holder[key]] for key in keys]


def _batch(rows: list[Tokens], asked: list[list[int]], questions: Sequence[Question]) -> Batch:
    inputs_BL = np.zeros((len(rows), len(rows[0])), np.int64)
    for b, row in enumerate(rows):
        inputs_BL[b, : len(row)] = row
    order = np.array([i for members in asked for i in members])
    sizes = np.array([len(questions[i].targets_T) for i in order])
    ends = np.array([len(questions[i].inputs_L) for i in order])
    rows_K = np.repeat(np.arange(len(rows)), [sum(len(questions[i].targets_T) for i in m) for m in asked])
    # the last T of a question's inputs: its end, less what is left of its own run of T
    places_K = np.repeat(ends - np.cumsum(sizes), sizes) + np.arange(sizes.sum())
    flat_P, picks_K = np.unique(rows_K * inputs_BL.shape[1] + places_K, return_inverse=True)
    return Batch(
        inputs_BL=inputs_BL,
        rows_P=flat_P // inputs_BL.shape[1],
        places_P=flat_P % inputs_BL.shape[1],
        picks_K=picks_K,
        targets_K=np.concatenate([questions[i].targets_T for i in order]),
        questions_Q=order,
        sizes_Q=sizes,
    )


def score(logits_PV: NDArray[np.float32], batch: Batch) -> Answer:
    """The K losses of a batch and whether each target is the first choice, from the logits at its P places.

    Not finite where the logits are not.
    """
    peaks_P1 = logits_PV.max(-1, keepdims=True)
    sums_P = np.exp(logits_PV - peaks_P1).sum(-1, dtype=np.float64)
    norms_P = np.log(sums_P) + peaks_P1[:, 0]
    chosen_K = logits_PV[batch.picks_K, batch.targets_K].astype(np.float64)
    right_K: NDArray[np.bool_] = logits_PV.argmax(-1)[batch.picks_K] == batch.targets_K
    return Answer(norms_P[batch.picks_K] - chosen_K, right_K)


def collect(batches: Sequence[Batch], scored: Iterable[Answer]) -> list[Answer]:
    """Deal the scored batches back to the planned questions, in the questions' order."""
    answers: dict[int, Answer] = {}
    for batch, whole in zip(batches, scored, strict=True):
        cuts = np.cumsum(batch.sizes_Q)[:-1]
        parts = zip(np.split(whole.nats_T, cuts), np.split(whole.right_T, cuts), strict=True)
        answers.update(zip(batch.questions_Q.tolist(), (Answer(nats, right) for nats, right in parts), strict=True))
    return [answers[i] for i in range(len(answers))]
