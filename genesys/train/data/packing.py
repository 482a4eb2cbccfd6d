"""Rows of tokens for training: nothing lost, nothing repeated within an epoch, nothing padded.

A split is one stream. Row i holds inputs `i*C .. i*C+C-1` and their next tokens, so that the C+1 tokens of a row share
one with the row after it and every token but the first is a target exactly once. Only what is left over at the end
of the stream is dropped, and counted.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from genesys.train.data.folder import Tokens, TokenStream


@dataclass(frozen=True, slots=True)
class PackedRows:
    """A stream of tokens cut into rows of `context` inputs.

    Raises:
        ValueError: The stream is too short for one row.
    """

    tokens: Tokens | TokenStream
    context: int

    def __post_init__(self) -> None:
        if self.n_rows < 1:
            raise ValueError(
                f"Cannot cut {len(self.tokens)} tokens into rows of {self.context}; expected {self.context + 1} or more."
            )

    @property
    def n_rows(self) -> int:
        return (len(self.tokens) - 1) // self.context

    @property
    def n_dropped(self) -> int:
        """Targets at the end of the stream that no row holds; always less than `context`."""
        return len(self.tokens) - 1 - self.n_rows * self.context

    def rows(self, indices: NDArray[np.int64]) -> NDArray[np.int64]:
        """The rows at these indices; shape (B, context + 1): inputs `[:, :-1]`, targets `[:, 1:]`."""
        starts = (indices * self.context).tolist()
        return np.array([self.tokens[start : start + self.context + 1] for start in starts], dtype=np.int64)


@dataclass(frozen=True, slots=True, kw_only=True)
class DataOrder:
    """Which rows each step takes; a function of (seed, epoch) alone, equal for all designs.

    A batch may span the end of an epoch: its first rows end one, its last rows begin the next, reshuffled.
    """

    n_rows: int
    batch_rows: int
    seed: int

    def batch(self, step: int) -> NDArray[np.int64]:
        """Row indices of step `step`, which counts from 0; shape (batch_rows,)."""
        places = np.arange(step * self.batch_rows, (step + 1) * self.batch_rows)
        epochs, within = np.divmod(places, self.n_rows)
        parts = [_permutation(self.n_rows, self.seed, int(e))[within[epochs == e]] for e in np.unique(epochs)]
        return np.concatenate(parts)

    def n_epochs(self, n_steps: int) -> float:
        """Passes over the rows after `n_steps` steps."""
        return n_steps * self.batch_rows / self.n_rows


@lru_cache(maxsize=2)  # a batch spans two epochs; 20 million rows take 160 MB
def _permutation(n_rows: int, seed: int, epoch: int) -> NDArray[np.int64]:
    return np.random.default_rng((seed, epoch)).permutation(n_rows)


def spread_rows(n_rows: int, at_most: int) -> NDArray[np.int64]:
    """Up to `at_most` row indices, evenly spread over a split; the fixed rows of the validation loss."""
    n = min(n_rows, at_most)
    return np.arange(n, dtype=np.int64) * n_rows // n
