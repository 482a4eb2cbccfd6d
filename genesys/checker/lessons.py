"""What the effectiveness stage trains on: text that is always at hand, and key-value recall.

Both need no file but this package's own, so that they can be read inside the cage. Shapes: B batch, L length.
"""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor

from genesys.gau.library import library

BYTE_VOCABULARY = 257  # the bytes, and one end-of-text token

N_KEYS = N_VALUES = 16
N_PAIRS = 4
RECALL_VOCABULARY = N_KEYS + N_VALUES
RECALL_CHANCE = 1 / N_VALUES


@cache
def packed_text() -> Tensor:
    """The texts of the library's units as bytes in one row, each ended by token 256; about 200,000 tokens."""
    tokens: list[int] = []
    for unit in library().values():
        tokens += [*unit.source.encode(), BYTE_VOCABULARY - 1]
    return torch.tensor(tokens)


def text_batch(n_rows: int, length: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Rows of the packed text from random places: tokens and the ones that follow, each (B, L)."""
    text = packed_text()
    starts = torch.randint(len(text) - length - 1, (n_rows,), generator=generator)
    rows = text[starts[:, None] + torch.arange(length + 1)]
    return rows[:, :-1], rows[:, 1:]


def recall_batch(n_rows: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Pairs of key and value, then each key again in another order; tokens (B, 3 pairs), answers (B, pairs).

    Keys are drawn anew for each row and differ within it; the answer to a key is the value that came with it.
    Source: Arora et al. 2023 ("Zoology"), shortened.
    """
    keys = torch.rand(n_rows, N_KEYS, generator=generator).argsort(1)[:, :N_PAIRS]
    values = torch.randint(N_VALUES, (n_rows, N_PAIRS), generator=generator) + N_KEYS
    order = torch.rand(n_rows, N_PAIRS, generator=generator).argsort(1)
    pairs = torch.stack([keys, values], dim=-1).flatten(1)
    return torch.cat([pairs, keys.gather(1, order)], dim=1), values.gather(1, order)
