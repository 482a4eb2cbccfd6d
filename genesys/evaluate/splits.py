"""The evaluation's own reading of token shards, independent of the trainer's.

Two readings that must give one loss are a better check (law 1) than one reading used twice. The format is that of
`genesys.train.data.shards`; the rows are those of `genesys.train.data.packing`, and a test holds the two equal. numpy only.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from genesys.errors import JobFailed

END_OF_TEXT = 256
N_VALIDATION_ROWS = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class SplitFiles:
    """A folder of shards, opened for evaluation; `hash` is that of its manifest."""

    path: Path
    hash: str
    manifest: dict[str, Any]

    def tokens(self, split: str) -> NDArray[np.int64]:
        """All tokens of a split.

        Raises:
            JobFailed: Cause "infrastructure": the file does not have the content that the manifest says.
        """
        return np.frombuffer(self._read(f"{split}.bin"), dtype="<u2").astype(np.int64)

    def documents(self, split: str, at_most_bytes: int) -> list[NDArray[np.int64]]:
        """Whole documents from the front of a split, each with its boundary token at the end.

        At least one, and no more than fit into `at_most_bytes` together.
        """
        tokens = self.tokens(split)
        offsets = np.frombuffer(self._read(f"{split}.offsets.bin"), dtype="<u8").astype(np.int64)
        n = max(1, int(np.searchsorted(offsets[1:], at_most_bytes, side="right")))
        return [tokens[a:b] for a, b in pairwise(offsets[: n + 1])]

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
        return SplitFiles(path=path, hash=hashlib.sha256(text.encode()).hexdigest(), manifest=json.loads(text))
    except (OSError, ValueError) as error:
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
