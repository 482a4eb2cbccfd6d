"""Bits per byte of held-out documents beside the unigram baseline.

numpy only, for the trusted side. Nats are summed over all predicted tokens, boundaries included; the divisor counts the
bytes of the texts alone.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from genesys.evaluate.splits import Documents


@dataclass(frozen=True, slots=True, kw_only=True)
class BitsPerByte:
    """A mean over documents, with its standard error by the bootstrap over documents.

    The error is 0 with a single document, where nothing can be said about the spread.
    """

    value: float
    se: float
    n_bytes: int
    n_documents: int


def windows(documents: Documents, context: int) -> list[NDArray[np.int64]]:
    """Documents as rows of inputs and next tokens: one array (R, context + 1), then a shorter one (1, rest + 1) if
    tokens are left over.

    The documents form one stream, led by a boundary token and cut as in training, so that every token is a target
    exactly once, predicted from the part of its window before it.
    """
    stream = np.concatenate([np.array([documents.end_of_text]), *documents.tokens])
    n = (len(stream) - 1) // context
    cut = [stream[np.arange(n)[:, None] * context + np.arange(context + 1)], stream[n * context :][None]]
    return [rows for rows in cut if len(rows) and rows.shape[1] > 1]


def by_document(nats: Sequence[NDArray[np.float64]], documents: Documents) -> list[NDArray[np.float64]]:
    """The losses of `windows`, dealt back to the documents that the targets stand in."""
    flat = np.concatenate([part.ravel() for part in nats])
    return np.split(flat, np.cumsum([len(document) for document in documents.tokens])[:-1])


def unigram_nats(counts_V: NDArray[np.int64], documents: Documents) -> list[NDArray[np.float64]]:
    """The loss of each token under the training split's token counts, one added to each."""
    nats_V = -np.log((counts_V + 1) / (counts_V + 1).sum())
    return [nats_V[document] for document in documents.tokens]


def bits_per_byte(
    nats: Sequence[NDArray[np.float64]], documents: Documents, *, n_bootstrap: int = 1000, seed: int = 0
) -> BitsPerByte:
    """Nats / ln 2 over the texts' bytes, and the standard deviation of that ratio over resampled documents."""
    sums = np.array([d.sum() for d in nats])
    sizes = documents.n_bytes
    value = sums.sum() / sizes.sum() / math.log(2)
    picks = np.random.default_rng(seed).integers(len(sums), size=(n_bootstrap, len(sums)))
    resampled = sums[picks].sum(1) / sizes[picks].sum(1) / math.log(2)
    se = float(resampled.std(ddof=1)) if len(sums) > 1 else 0.0
    return BitsPerByte(value=float(value), se=se, n_bytes=int(sizes.sum()), n_documents=len(sums))
