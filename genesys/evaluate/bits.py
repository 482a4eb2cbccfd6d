"""Bits per byte of held-out documents, under a model and under the unigram baseline.

Nats are summed over all predicted tokens, boundaries included; the divisor counts real bytes alone.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from genesys.errors import JobFailed
from genesys.evaluate.splits import END_OF_TEXT

Documents = Sequence[NDArray[np.int64]]
_BATCH_ROWS = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class BitsPerByte:
    """A mean over documents, with its standard error by the bootstrap over documents.

    The error is 0 with a single document, where nothing can be said about the spread.
    """

    value: float
    se: float
    n_bytes: int
    n_documents: int


def token_nats(model: nn.Module, documents: Documents, context: int) -> list[NDArray[np.float64]]:
    """The loss of each token of each document, in nats.

    The documents form one stream, led by a boundary token and cut into windows of `context` as in training, so every
    token is predicted exactly once, from the part of its window before it.
    """
    stream = torch.from_numpy(np.concatenate([np.array([END_OF_TEXT]), *documents]))
    whole = (len(stream) - 1) // context
    inputs, targets = stream[:-1], stream[1:]
    losses = []
    for start in range(0, whole, _BATCH_ROWS):
        part = slice(start * context, min(whole, start + _BATCH_ROWS) * context)
        losses.append(_losses(model, inputs[part].view(-1, context), targets[part].view(-1, context)))
    if len(inputs) > whole * context:  # a shorter window at the end: no token goes unpredicted
        losses.append(_losses(model, inputs[whole * context :][None], targets[whole * context :][None]))
    nats = torch.cat(losses).double().numpy()
    if not np.isfinite(nats).all():
        raise JobFailed("non-finite", "Cannot evaluate: a loss on held-out text is not finite; expected finite logits.")
    return np.split(nats, np.cumsum([len(d) for d in documents])[:-1])


def unigram_nats(train_tokens: NDArray[np.int64], documents: Documents, vocab_size: int) -> list[NDArray[np.float64]]:
    """The loss of each token under the training split's token frequencies, one added to every count."""
    counts = np.bincount(train_tokens, minlength=vocab_size) + 1
    nats = -np.log(counts / counts.sum())
    return [nats[document] for document in documents]


def bits_per_byte(
    nats: Sequence[NDArray[np.float64]], documents: Documents, *, n_bootstrap: int = 1000, seed: int = 0
) -> BitsPerByte:
    """Nats / ln 2 over real bytes, and the standard deviation of that ratio over resampled documents."""
    sums = np.array([d.sum() for d in nats])
    sizes = np.array([int((d != END_OF_TEXT).sum()) for d in documents])
    value = sums.sum() / sizes.sum() / math.log(2)
    picks = np.random.default_rng(seed).integers(len(sums), size=(n_bootstrap, len(sums)))
    resampled = sums[picks].sum(1) / sizes[picks].sum(1) / math.log(2)
    se = float(resampled.std(ddof=1)) if len(sums) > 1 else 0.0
    return BitsPerByte(value=float(value), se=se, n_bytes=int(sizes.sum()), n_documents=len(sums))


@torch.no_grad()
def mean_loss(model: Callable[[Tensor], Tensor], rows_RL: Tensor) -> float:
    """Mean loss over rows of inputs and next tokens, nats per token."""
    losses = [_losses(model, part[:, :-1], part[:, 1:]) for part in rows_RL.split(_BATCH_ROWS)]
    return float(torch.cat(losses).double().mean())


@torch.no_grad()
def _losses(model: Callable[[Tensor], Tensor], inputs_BL: Tensor, targets_BL: Tensor) -> Tensor:
    logits_BLV = model(inputs_BL).float()
    return F.cross_entropy(logits_BLV.flatten(0, 1), targets_BL.flatten(), reduction="none")
