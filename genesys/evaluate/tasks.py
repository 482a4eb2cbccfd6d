"""Synthetic tasks that tell what a sequence mixer can do, whatever its loss on text.

Each gives rows of tokens and, for each place, the token to be answered there or `NO_ANSWER`. Rows are drawn fresh from
a generator, so a stream seeded apart is a held-out set. numpy only: the cage draws its training rows with it, the
trusted side its test rows and their answers.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

NO_ANSWER = -100
TRAIN_STREAM, CHECK_STREAM, TEST_STREAM = 1, 2, 3
PROBE_D_MODEL, PROBE_N_BLOCKS, PROBE_EMBEDDING_STD = 64, 2, 0.3
PASS_ACCURACY = 0.9

Tokens = NDArray[np.int64]
Sampler = Callable[["Task", int, Generator], tuple[Tokens, Tokens]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """A family of sequences.

    Attributes:
        length: Tokens in a row.
        vocab_size: All tokens, markers included.
        n_answers: Different answers, all equally likely; the chance level is their inverse.
        n_items: Pairs to recall, tokens to copy, or length of the repeated stretch.
    """

    name: str
    length: int
    vocab_size: int
    n_answers: int
    n_items: int
    sampler: Sampler

    @property
    def chance(self) -> float:
        """Accuracy of the best answer that ignores the sequence."""
        return 1 / self.n_answers

    def sample(self, n_rows: int, generator: Generator) -> tuple[Tokens, Tokens]:
        """Fresh rows: tokens (B, L) and the answers (B, L), `NO_ANSWER` where none is asked."""
        return self.sampler(self, n_rows, generator)


def sample_recall(task: Task, n_rows: int, generator: Generator) -> tuple[Tokens, Tokens]:
    """Multi-query associative recall: rounds of the same key-value pairs, each round in an order of its own.

    Keys are `0 .. K-1`, values `K .. K+V-1`. From the second round on each key asks for its value. A round holds all
    pairs once, so that a window of a few tokens seldom holds the key's last occurrence.
    Source: Arora et al. 2023, "Zoology", section 4 (there a value is not shown again; here it is, which learns faster).
    """
    n_keys, n_rounds = task.vocab_size - task.n_answers, -(-task.length // (2 * task.n_items))
    keys = generator.random((n_rows, n_keys)).argsort(1)[:, : task.n_items]
    values = n_keys + generator.integers(task.n_answers, size=(n_rows, task.n_items))
    order = generator.random((n_rows, n_rounds, task.n_items)).argsort(2).reshape(n_rows, -1)
    pairs = [np.take_along_axis(keys, order, 1), np.take_along_axis(values, order, 1)]
    tokens = np.stack(pairs, axis=2).reshape(n_rows, -1)[:, : task.length]
    answers = np.full_like(tokens, NO_ANSWER)
    answers[:, 2 * task.n_items :: 2] = tokens[:, 2 * task.n_items + 1 :: 2]
    return tokens, answers


def sample_copy(task: Task, n_rows: int, generator: Generator) -> tuple[Tokens, Tokens]:
    """Selective copy: data tokens scattered among noise, then a marker for each, at which they are asked in order.

    Data are `0 .. A-1`, then noise, then the marker. Source: Poli et al. 2024, "MAD", selective copying.
    """
    n_places = task.length - task.n_items
    noise, marker = task.vocab_size - 2, task.vocab_size - 1
    tokens = np.full((n_rows, task.length), noise)
    places = np.sort(generator.random((n_rows, n_places)).argsort(1)[:, : task.n_items], axis=1)
    data = generator.integers(task.n_answers, size=(n_rows, task.n_items))
    np.put_along_axis(tokens, places, data, 1)
    tokens[:, n_places:] = marker
    answers = np.full_like(tokens, NO_ANSWER)
    answers[:, n_places:] = data
    return tokens, answers


def sample_induction(task: Task, n_rows: int, generator: Generator) -> tuple[Tokens, Tokens]:
    """Induction: a stretch of random tokens repeated to the end of the row, asked from its second token on.

    The tokens of a stretch are all different, so that each says which one follows. The stretch's length varies from
    batch to batch, up to `n_items`, so that no fixed distance gives the answer.
    Source: Olsson et al. 2022, "In-context Learning and Induction Heads".
    """
    n = int(generator.integers(task.n_items // 2, task.n_items + 1))
    stretch = generator.random((n_rows, task.vocab_size)).argsort(1)[:, :n]
    stream = np.tile(stretch, (1, task.length // n + 2))
    answers = stream[:, 1 : task.length + 1].copy()
    answers[:, :n] = NO_ANSWER
    return stream[:, : task.length].copy(), answers


def task_stream(seed: int, stream: int, name: str) -> Generator:
    """The generator of one stream of a task's rows; a function of its arguments alone."""
    digest = hashlib.sha256(repr((seed, stream, name)).encode()).digest()
    return np.random.default_rng(int.from_bytes(digest, "big"))


TASKS: Mapping[str, Task] = {
    "recall": Task(name="recall", length=32, vocab_size=32, n_answers=16, n_items=4, sampler=sample_recall),
    "copy": Task(name="copy", length=20, vocab_size=10, n_answers=8, n_items=4, sampler=sample_copy),
    "induction": Task(name="induction", length=32, vocab_size=16, n_answers=16, n_items=12, sampler=sample_induction),
}
