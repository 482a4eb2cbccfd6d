"""What a packing will take, and how far it is."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from genesys.tokens import Tokenizer
from genesys.train.data.parts import Part
from genesys.train.data.writing import PackedPart, token_dtype

_SAMPLE_CHARS = 500_000
_WRITING = 2.0  # dealing, counting, hashing and writing take about as long as reading and tokenizing bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """What a packing will take, from a sample of its first part; all of it is "about".

    Attributes:
        n_tokens, disk_bytes, process_s: None where a data set does not say how much it holds; seconds of one process.
    """

    n_parts: int
    bytes_per_token: float
    n_tokens: int | None
    disk_bytes: int | None
    process_s: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class PackProgress:
    """How far a packing is.

    Attributes:
        share: Of the work, 0 to 1.
        n_tokens, n_bytes: Packed so far, of tokens and of text, with those that were there already.
        left_s: Seconds left at the pace so far; None before there is one.
    """

    n_parts: int
    n_done: int
    share: float
    n_tokens: int
    n_bytes: int
    left_s: float | None


OnEstimate = Callable[[Estimate], None]
OnProgress = Callable[[PackProgress], None]


def estimate(parts: Sequence[Part], tokenizer: Tokenizer) -> Estimate:
    """Read and tokenize a little of the first part, and multiply."""
    started = time.perf_counter()
    sample: list[str] = []
    for text in parts[0].documents():
        sample.append(text[:_SAMPLE_CHARS].encode(errors="replace").decode())
        if sum(map(len, sample)) >= _SAMPLE_CHARS:
            break
    n_sampled = sum(len(tokens) + 1 for tokens in tokenizer.encode_many(sample)) or 1
    seconds = time.perf_counter() - started
    bytes_per_token = sum(len(text.encode()) for text in sample) / n_sampled or 1.0
    sizes = [part.max_tokens or part.text_bytes / bytes_per_token for part in parts]
    n_tokens = int(sum(sizes)) if all(sizes) else None
    return Estimate(
        n_parts=len(parts),
        bytes_per_token=bytes_per_token,
        n_tokens=n_tokens,
        disk_bytes=n_tokens and n_tokens * np.dtype(token_dtype(tokenizer.vocab_size)).itemsize,
        process_s=n_tokens and _WRITING * seconds * n_tokens / n_sampled,
    )


class Meter:
    """Adds up packed parts; the pace is that of the parts added since it began."""

    def __init__(self, parts: Sequence[Part], packed: Mapping[int, PackedPart]) -> None:
        self._weights = [part.max_tokens or part.text_bytes or 1 for part in parts]
        self._packed = dict(packed)
        self._before, self._started = self._done, time.monotonic()

    @property
    def _done(self) -> int:
        return sum(self._weights[index] for index in self._packed)

    def add(self, part: PackedPart) -> None:
        self._packed[part.index] = part

    def read(self) -> PackProgress:
        done, total, seconds = self._done, max(1, sum(self._weights)), time.monotonic() - self._started
        gained = done - self._before
        return PackProgress(
            n_parts=len(self._weights),
            n_done=len(self._packed),
            share=done / total,
            n_tokens=sum(sum(part.n_tokens.values()) for part in self._packed.values()),
            n_bytes=sum(sum(part.n_bytes.values()) for part in self._packed.values()),
            left_s=seconds * (total - done) / gained if gained > 0 else None,
        )
