"""An n-gram model with interpolated Kneser-Ney smoothing: the classical baseline beside which results are shown.

numpy only. The k-grams of each order form a level of a trie: sorted keys `parent * V + token`, where `parent` is the
index of the (k-1)-gram before the token. So a context's continuations stand side by side, and a k-gram is found by
binary search. Source: Chen and Goodman 1998, "An Empirical Study of Smoothing Techniques", section 3.2, with one
discount an order, n1 / (n1 + 2 n2), kept off 0 and 1 by one more of each.

Shapes: N tokens, M k-grams of a level, V vocabulary, B rows, L inputs, P places.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from genesys.evaluate.local import LocalModel
from genesys.evaluate.questions import Batch, Tokens

_UNSEEN = -1


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Level:
    """The k-grams of one order, and what each (k-1)-gram gives to those that follow it.

    `gains_M` is a k-gram's discounted share of its parent's count; `rests` the share that each parent leaves to the
    lower order (1 where nothing followed it); `firsts` where each parent's continuations begin among the keys.
    """

    keys_M: Tokens
    gains_M: NDArray[np.float64]
    rests: NDArray[np.float64]
    firsts: Tokens

    def find(self, keys: Tokens) -> Tokens:
        """The index of each key, `_UNSEEN` where there is none; a negative key is never found."""
        places = np.minimum(np.searchsorted(self.keys_M, keys), len(self.keys_M) - 1)
        return np.where(self.keys_M[places] == keys, places, _UNSEEN)

    def add(self, p_PV: NDArray[np.float32], parent_P: Tokens) -> None:
        """Interpolate: what the lower orders say, in place, with what followed each place's context."""
        known = np.flatnonzero(parent_P != _UNSEEN)
        parents, vocab_size = parent_P[known], p_PV.shape[1]
        sizes = np.diff(self.firsts)[parents]
        rows = np.repeat(known, sizes)
        places = np.repeat(self.firsts[parents] - np.cumsum(sizes) + sizes, sizes) + np.arange(sizes.sum())
        p_PV[known] *= self.rests[parents, None]
        p_PV[rows, self.keys_M[places] % vocab_size] += self.gains_M[places]


def ngram_model(tokens_N: Tokens, *, vocab_size: int, order: int = 5, context: int = 2048) -> LocalModel:
    """Count a corpus; the model predicts from the last `order - 1` tokens, and finds no token impossible.

    Counting takes some 100 bytes a token and 0.2 microseconds a token and order. `context` is the longest row that may be asked;
    nothing before a row's first token is remembered.

    Raises:
        ValueError: No tokens, a token outside the vocabulary, or an order below 1.
    """
    if order < 1 or not len(tokens_N):
        raise ValueError(f"Cannot count {len(tokens_N)} tokens at order {order}: expected some, at 1 or more.")
    if tokens_N.min() < 0 or tokens_N.max() >= vocab_size:
        raise ValueError(f"Cannot count tokens up to {tokens_N.max()}: expected them below {vocab_size}.")
    unigrams, *levels = _count(tokens_N.astype(np.int64), vocab_size, order)
    base_V = np.full(vocab_size, unigrams.rests[0] / vocab_size)
    base_V[unigrams.keys_M] += unigrams.gains_M

    def log_probabilities(batch: Batch) -> NDArray[np.float32]:
        p_PV = np.tile(base_V.astype(np.float32), (len(batch.rows_P), 1))
        found_BL = unigrams.find(batch.inputs_BL)
        for level in levels:
            level.add(p_PV, found_BL[batch.rows_P, batch.places_P])
            before_BL = np.concatenate([np.full_like(found_BL[:, :1], _UNSEEN), found_BL[:, :-1]], axis=1)
            found_BL = level.find(np.where(before_BL < 0, _UNSEEN, before_BL * vocab_size + batch.inputs_BL))
        return np.log(p_PV)

    return LocalModel(logits_fn=log_probabilities, context=context)


def _count(tokens_N: Tokens, vocab_size: int, order: int) -> list[_Level]:
    """The levels of the orders 1 to `order`, or to the length of the corpus.

    `ids_N` holds the k-gram that ends at each token; the first ones have none.
    """
    keys: list[Tokens] = []
    counts: list[Tokens] = []
    ids_N, n_parents = np.zeros(len(tokens_N), np.int64), [1]
    for k in range(min(order, len(tokens_N))):
        parents = ids_N if k == 0 else np.concatenate([np.full(1, _UNSEEN), ids_N[:-1]])
        grams = parents[k:] * vocab_size + tokens_N[k:]
        level, firsts, inverse, raw = np.unique(grams, return_index=True, return_inverse=True, return_counts=True)
        if k:  # the order below counts after how many different tokens its grams stand, not how often
            counts[-1] = np.bincount(ids_N[firsts + k], minlength=len(keys[-1]))
        ids_N = np.concatenate([np.full(k, _UNSEEN), inverse])
        keys.append(level)
        counts.append(raw)
        n_parents.append(len(level))
    return [_level(*parts, vocab_size) for parts in zip(keys, counts, n_parents[:-1], strict=True)]


def _level(keys_M: Tokens, counts_M: Tokens, n_parents: int, vocab_size: int) -> _Level:
    """Discounted shares from counts; a gram that was never continued from the left counts nothing."""
    once, twice = int((counts_M == 1).sum()), int((counts_M == 2).sum())
    discount = (once + 1) / (once + 2 * twice + 2)
    parents_M = keys_M // vocab_size
    totals = np.bincount(parents_M, counts_M, minlength=n_parents)
    kept_M = np.maximum(counts_M - discount, 0)
    safe = np.maximum(totals, 1)
    return _Level(
        keys_M=keys_M,
        gains_M=kept_M / safe[parents_M],
        rests=np.where(totals > 0, 1 - np.bincount(parents_M, kept_M, minlength=n_parents) / safe, 1.0),
        firsts=np.searchsorted(keys_M, np.arange(n_parents + 1) * vocab_size),
    )
