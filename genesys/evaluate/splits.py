"""The evaluation's own reading of token shards, independent of the trainer's.

Two readings that must give one loss are a better check (law 1) than one reading used twice. The format is that of
`genesys.train.data.folder`; the rows are those of `genesys.train.data.packing`, and a test holds the two equal. numpy only.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from genesys.errors import JobFailed
from genesys.tokens import Tokenizer, parse_tokenizer

SHARDS_VERSION = 2
N_VALIDATION_ROWS = 64


@dataclass(frozen=True, slots=True, eq=False)
class Documents:
    """Texts in tokens, each with its boundary at the end.

    Attributes:
        n_bytes: Of each text, in UTF-8; what bits per byte are per.
        end_of_text: The boundary token.
    """

    tokens: Sequence[NDArray[np.int64]]
    n_bytes: NDArray[np.int64]
    end_of_text: int

    def __len__(self) -> int:
        return len(self.tokens)


@dataclass(frozen=True, slots=True, kw_only=True)
class SplitFiles:
    """A folder of shards, opened for evaluation; `hash` is that of its manifest.

    All methods raise `JobFailed`, cause "infrastructure", where a file does not have the content that the manifest says.
    """

    path: Path
    hash: str
    manifest: dict[str, Any]

    def tokens(self, split: str) -> NDArray[np.int64]:
        """All tokens of a split."""
        return np.concatenate(list(self._files(split)))

    def documents(self, split: str, at_most_bytes: int) -> Documents:
        """Whole documents from the front of a split, from as few of its files as hold them.

        At least one, and no more than have `at_most_bytes` of text together.
        """
        offsets, n_bytes = self._numbers(f"{split}.offsets.bin"), self._numbers(f"{split}.bytes.bin")
        n = max(1, int(np.searchsorted(np.cumsum(n_bytes), at_most_bytes, side="right")))
        pieces: list[NDArray[np.int64]] = []
        for piece in self._files(split):
            pieces.append(piece)
            if sum(map(len, pieces)) >= offsets[n]:
                break
        tokens = np.concatenate(pieces)
        cut = [tokens[a:b] for a, b in pairwise(offsets[: n + 1])]
        return Documents(cut, n_bytes[:n], int(self.manifest["end_of_text"]))

    def train_counts(self) -> NDArray[np.int64]:
        """How often each token occurs in the train split; shape (vocab_size,)."""
        return self._numbers("train.counts.bin")

    def tokenizer(self) -> Tokenizer:
        """What the text was packed with; raises `ConfigError` where a library that it needs is missing."""
        return parse_tokenizer(self._read("tokenizer.json").decode())

    def check(self) -> None:
        """Hold every file against the manifest; a folder found whole is not read again until a file of it changes."""
        files = [self.path / name for name in self.manifest["files"]]
        marker = self.path.with_name(f".{self.path.name}-{self.hash[:16]}.whole")
        try:
            if marker.stat().st_mtime_ns > max(path.stat().st_mtime_ns for path in files):
                return
        except OSError:
            pass  # never looked at, or a file is missing
        for path in files:
            self._read(path.name)
        with contextlib.suppress(OSError):  # a cache that cannot be written is read each time
            marker.touch()

    def _files(self, split: str) -> Iterator[NDArray[np.int64]]:
        for name in sorted(name for name in self.manifest["files"] if name.startswith(f"{split}-")):
            yield np.frombuffer(self._read(name), dtype=self.manifest["dtype"]).astype(np.int64)

    def _numbers(self, name: str) -> NDArray[np.int64]:
        return np.frombuffer(self._read(name), dtype="<u8").astype(np.int64)

    def _read(self, name: str) -> bytes:
        try:
            data = (self.path / name).read_bytes()
        except OSError as error:
            raise JobFailed("infrastructure", f"Cannot evaluate on {name}: {error}; expected a whole folder.") from None
        if hashlib.sha256(data).hexdigest() != self.manifest["files"][name]["sha256"]:
            raise JobFailed(
                "infrastructure",
                f"Cannot evaluate on {name}: its content is not what the manifest says. Delete the folder.",
            )
        return data


def open_splits(path: Path) -> SplitFiles:
    """Open a folder of shards.

    Raises:
        JobFailed: There is no manifest to read.
    """
    try:
        text = (path / "manifest.json").read_text(encoding="utf-8")
        manifest = json.loads(text)
        if manifest["version"] != SHARDS_VERSION:
            raise ValueError(f"format {manifest['version']}, not {SHARDS_VERSION}")
        return SplitFiles(path=path, hash=hashlib.sha256(text.encode()).hexdigest(), manifest=manifest)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise JobFailed(
            "infrastructure", f"Cannot open shards {str(path)!r}: {error}; expected a manifest.json."
        ) from None


def validation_rows(tokens: NDArray[np.int64], context: int) -> NDArray[np.int64]:
    """The fixed rows of the validation loss; shape (R, context + 1), R at most 64, evenly spread over the split."""
    n_rows = (len(tokens) - 1) // context
    n = min(n_rows, N_VALIDATION_ROWS)
    starts = (np.arange(n) * n_rows // n) * context
    rows: NDArray[np.int64] = tokens[starts[:, None] + np.arange(context + 1)]
    return rows
