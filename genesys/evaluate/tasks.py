"""Synthetic tasks that tell what a sequence mixer can do, whatever its loss on text.

Each gives rows of tokens and, for each place, the token to be answered there or `NO_ANSWER`. Rows are drawn fresh from
a generator, so a stream seeded apart is a held-out set. numpy only: the cage draws its training rows with it, the
trusted side its test rows and their answers.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cache
from itertools import product

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

NO_ANSWER = -100
TRAIN_STREAM, CHECK_STREAM, TEST_STREAM = 1, 2, 3
PROBE_D_MODEL, PROBE_N_BLOCKS, PROBE_EMBEDDING_STD = 64, 2, 0.3
PASS_ACCURACY = 0.9

_BLANK, _WORD_LETTERS = -1, 3

Tokens = NDArray[np.int64]
Sampler = Callable[["Task", int, Generator], tuple[Tokens, Tokens]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """A family of sequences.

    Attributes:
        length: Tokens in a row.
        vocab_size: All tokens, markers included.
        n_answers: Different answers, all equally likely; the chance level is their inverse.
        n_items: Pairs to recall, tokens to copy or to hold, keys of either half, or length of the repeated stretch.
        n_steps: Of the training, at most.
        peak_lrs: Learning rates tried.
        longer: Tokens in a test row; 0 for `length`.
        one_state: Place of the state from which all answers are read; 0 for each from its own.
    """

    name: str
    length: int
    vocab_size: int
    n_answers: int
    n_items: int
    sampler: Sampler
    n_steps: int = 240
    peak_lrs: tuple[float, ...] = (3e-3, 1e-2)
    longer: int = 0
    one_state: int = 0

    @property
    def chance(self) -> float:
        """Accuracy of the best answer that ignores the sequence."""
        return 1 / self.n_answers

    def sample(self, n_rows: int, generator: Generator) -> tuple[Tokens, Tokens]:
        """Fresh rows: tokens (B, L) and the answers (B, L), `NO_ANSWER` where none is asked."""
        return self.sampler(self, n_rows, generator)

    def test_rows(self, n_rows: int, weights_sha256: str) -> tuple[Tokens, Tokens]:
        """The rows on which trained weights are scored, and their answers; nobody knows them before the weights."""
        task = replace(self, length=self.longer or self.length)
        return task.sample(n_rows, task_stream(int(weights_sha256, 16), TEST_STREAM, self.name))


def sample_recall(task: Task, n_rows: int, generator: Generator) -> tuple[Tokens, Tokens]:
    """Multi-query associative recall: rounds of the same key-value pairs, each round in an order of its own.

    Keys are `0 .. K-1`, values `K .. K+V-1`. From the second round on each key asks for its value. A round holds all
    pairs once, so that a window of a few tokens seldom holds the key's last occurrence.
    Source: Arora et al. 2023, "Zoology", section 4 (there a value is not shown again; here it is, which learns faster).
    """
    n_keys, n_rounds = task.vocab_size - task.n_answers, -(-task.length // (2 * task.n_items))
    keys = generator.random((n_rows, n_keys)).argsort(1)[:, : task.n_items, None]
    tokens = _rounds(task, keys, n_keys, n_rounds, generator).reshape(n_rows, -1)[:, : task.length]
    answers = np.full_like(tokens, NO_ANSWER)
    answers[:, 2 * task.n_items :: 2] = tokens[:, 2 * task.n_items + 1 :: 2]
    return tokens, answers


def sample_fuzzy_recall(task: Task, n_rows: int, generator: Generator) -> tuple[Tokens, Tokens]:
    """Recall of keys that are words of one to three tokens: the last token alone does not tell which.

    Letters are `0 .. K-1`, values `K .. K+V-1`. A row's words are all different and each keeps its value; from the second
    round on a word's last letter asks for it. Source: Poli et al. 2024, "MAD", fuzzy in-context recall (there values too
    have several tokens).
    """
    n_letters, n_rounds = task.vocab_size - task.n_answers, -(-task.length // (2 * task.n_items))
    words, n_letters_W = _words(n_letters)
    # Gumbel noise draws without replacement, each length as often
    chosen = (generator.gumbel(size=(n_rows, len(words))) - n_letters_W * math.log(n_letters)).argsort(1)
    cells = _rounds(task, words[chosen[:, -task.n_items :]], n_letters, n_rounds, generator)
    answers = np.full_like(cells, NO_ANSWER)
    answers[:, task.n_items :, -2] = cells[:, task.n_items :, -1]
    cells, answers = cells.reshape(n_rows, -1), answers.reshape(n_rows, -1)
    kept = (cells == _BLANK).argsort(1, kind="stable")[:, : task.length]
    return np.take_along_axis(cells, kept, 1), np.take_along_axis(answers, kept, 1)


@cache
def _words(n_letters: int) -> tuple[Tokens, Tokens]:
    """All words of one to three letters, blanks before them, (W, 3), and how many letters each has, (W,)."""
    words = [
        (_BLANK,) * (_WORD_LETTERS - n) + word
        for n in range(1, _WORD_LETTERS + 1)
        for word in product(range(n_letters), repeat=n)
    ]
    return np.array(words), (np.array(words) != _BLANK).sum(1)


def sample_noisy_recall(task: Task, n_rows: int, generator: Generator) -> tuple[Tokens, Tokens]:
    """Recall of pairs that lie scattered in noise: three rounds of them, however long the row.

    Keys are `0 .. V-1`, values `V .. 2V-1`, then noise. Source: Poli et al. 2024, "MAD", noisy in-context recall.
    """
    n = task.n_answers
    keys = generator.random((n_rows, n)).argsort(1)[:, : task.n_items, None]
    pairs = _rounds(task, keys, n, 3, generator)
    n_pairs = pairs.shape[1]
    places = np.sort(generator.random((n_rows, task.length - n_pairs)).argsort(1)[:, :n_pairs], axis=1)
    places += np.arange(n_pairs)
    tokens = generator.integers(2 * n, task.vocab_size, size=(n_rows, task.length))
    answers = np.full_like(tokens, NO_ANSWER)
    np.put_along_axis(tokens, places, pairs[..., 0], 1)
    np.put_along_axis(tokens, places + 1, pairs[..., 1], 1)
    np.put_along_axis(answers, places[:, task.n_items :], pairs[:, task.n_items :, 1], 1)
    return tokens, answers


def _rounds(task: Task, keys_BNW: Tokens, n_keys: int, n_rounds: int, generator: Generator) -> Tokens:
    """Rounds of the same keys, each followed by its value, each round in an order of its own: (B, rounds x N, W + 1)."""
    n_rows = len(keys_BNW)
    values = n_keys + generator.integers(task.n_answers, size=(n_rows, task.n_items, 1))
    order = generator.random((n_rows, n_rounds, task.n_items)).argsort(2).reshape(n_rows, -1, 1)
    return np.take_along_axis(np.concatenate([keys_BNW, values], axis=2), order, 1)


def sample_compression(task: Task, n_rows: int, generator: Generator) -> tuple[Tokens, Tokens]:
    """Compression: random tokens, then a marker for each, at which they are asked in order, all from one state.

    Data are `0 .. A-1`, then the markers. Source: Poli et al. 2024, "MAD", compression (there a network of its own reads
    the state; here each marker's embedding does, see `genesys.evaluate.probes`).
    """
    data = generator.integers(task.n_answers, size=(n_rows, task.n_items))
    markers = np.broadcast_to(task.n_answers + np.arange(task.n_items), data.shape)
    return np.concatenate([data, markers], axis=1), np.concatenate([np.full_like(data, NO_ANSWER), data], axis=1)


def sample_memorisation(task: Task, n_rows: int, generator: Generator) -> tuple[Tokens, Tokens]:
    """Memorisation: facts that are the same in all rows, each asked by two tokens and never shown.

    First halves are `0 .. K-1`, second halves `K .. 2K-1`, values the rest. A single token would be learnt by its
    embedding; that a pair tells nothing by halves asks for weights in the block.
    Source: Poli et al. 2024, "MAD", memorization (there a key is one token).
    """
    n = task.n_items
    facts = np.resize(2 * n + np.arange(task.n_answers), n * n)
    task_stream(0, 0, task.name).shuffle(facts)
    halves = generator.integers(n, size=(n_rows, task.length // 2, 2))
    tokens = (halves + np.array([0, n])).reshape(n_rows, -1)
    answers = np.full_like(tokens, NO_ANSWER)
    answers[:, 1::2] = facts[halves[..., 0] * n + halves[..., 1]]
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


_HIGH_LRS = (1e-2, 3e-2)  # at 1e-2 Mamba-2 ends recall at .45 to .52, at 3e-2 at .80 to .96

TASKS: Mapping[str, Task] = {
    task.name: task
    for task in (
        Task(name="recall", length=32, vocab_size=32, n_answers=16, n_items=4, sampler=sample_recall,
             peak_lrs=_HIGH_LRS),
        Task(name="copy", length=20, vocab_size=10, n_answers=8, n_items=4, sampler=sample_copy),
        Task(name="induction", length=32, vocab_size=16, n_answers=16, n_items=12, sampler=sample_induction),
        Task(name="fuzzy_recall", length=40, vocab_size=20, n_answers=16, n_items=4, sampler=sample_fuzzy_recall),
        Task(name="noisy_recall", length=32, vocab_size=40, n_answers=16, n_items=4, sampler=sample_noisy_recall,
             peak_lrs=_HIGH_LRS),
        Task(name="compression", length=24, vocab_size=20, n_answers=8, n_items=12, sampler=sample_compression,
             n_steps=500, one_state=12),
        Task(name="memorisation", length=32, vocab_size=80, n_answers=16, n_items=32, sampler=sample_memorisation),
        Task(name="length_generalisation", length=32, vocab_size=40, n_answers=16, n_items=4,
             sampler=sample_noisy_recall, peak_lrs=_HIGH_LRS, longer=128),
    )
}  # fmt: skip
