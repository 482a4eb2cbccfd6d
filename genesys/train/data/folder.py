"""Token shards on disk: what a folder of them is, and how it is opened.

A folder holds, all little-endian,

    manifest.json           what there is: tokenizer, counts by split, and the size and SHA-256 of every other file
    tokenizer.json          see `genesys.tokens`
    train-00000.bin ...     tokens (uint16, or uint32 where the vocabulary is larger), documents each followed by the
                            boundary; likewise val and test; the files of a split are one stream, cut anywhere
    train.counts.bin        how often each token occurs in the train split (uint64)
    val.offsets.bin         where each document of the stream begins, and the total at the end (uint64); likewise test
    val.bytes.bin           how many bytes of UTF-8 each document had (uint64); likewise test
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from genesys.errors import ConfigError
from genesys.tokens import ByteTokenizer, Tokenizer, load_tokenizer
from genesys.train.data.parts import SPLITS, Split

SHARDS_VERSION = 2
_MANIFEST: Mapping[str, type] = {
    "corpus": str,
    "tokenizer": str,
    "vocab_size": int,
    "end_of_text": int,
    "dtype": str,
    "n_tokens": dict,
    "n_documents": dict,
    "n_bytes": dict,
    "files": dict,
}

Tokens = NDArray[np.integer[Any]]


class TokenStream:
    """Files of tokens as one sequence: sliced without reading more than is asked for; mapped, never copied whole."""

    def __init__(self, files: Sequence[Tokens]) -> None:
        self._files = files
        self._starts = np.cumsum([0, *map(len, files)])

    def __len__(self) -> int:
        return int(self._starts[-1])

    def __getitem__(self, places: slice) -> Tokens:
        start, stop, step = places.indices(len(self))
        if step != 1:
            raise ValueError(f"Cannot take every {step}th token; expected a slice without a step.")
        first = int(np.searchsorted(self._starts[1:-1], start, side="right"))
        last = int(np.searchsorted(self._starts[1:-1], max(start, stop - 1), side="right"))
        pieces = [
            self._files[i][max(0, start - self._starts[i]) : max(0, stop - self._starts[i])]
            for i in range(first, last + 1)
        ]
        return pieces[0] if first == last else np.concatenate(pieces)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Tokens:
        return np.concatenate(self._files).astype(dtype or self._files[0].dtype, copy=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Shards:
    """One prepared folder of tokens.

    Attributes:
        hash: SHA-256 of the manifest, which holds the SHA-256 of every file: equal hash, equal data.
        n_tokens, n_documents: By split, boundary tokens counted as tokens.
        n_bytes: Of text, by split.
        files: The names of all files but the manifest.
        dtype: Of tokens in files.
    """

    path: Path
    hash: str
    corpus: str
    n_tokens: Mapping[str, int]
    n_documents: Mapping[str, int]
    n_bytes: Mapping[str, int]
    files: tuple[str, ...]
    vocab_size: int = ByteTokenizer.vocab_size
    end_of_text: int = ByteTokenizer.end_of_text
    tokenizer_name: str = ByteTokenizer.name
    dtype: str = "<u2"

    def tokens(self, split: Split) -> Tokens | TokenStream:
        """All tokens of a split, mapped and read-only: an array where they are one file."""
        names = [name for name in self.files if name.startswith(f"{split}-")]
        mapped: list[Tokens] = [np.asarray(np.memmap(self.path / name, self.dtype, "r")) for name in names]
        return mapped[0] if len(mapped) == 1 else TokenStream(mapped)

    def offsets(self, split: Literal["val", "test"]) -> NDArray[np.uint64]:
        """Where each document of a split begins, and the total at the end; shape (n_documents + 1,)."""
        return np.fromfile(self.path / f"{split}.offsets.bin", dtype="<u8")

    def tokenizer(self) -> Tokenizer:
        """What the text was packed with.

        Raises:
            ConfigError: It is not there, needs a library that is not, or is another one.
        """
        found = load_tokenizer(self.path)
        theirs = (found.name, found.vocab_size, found.end_of_text)
        ours = (self.tokenizer_name, self.vocab_size, self.end_of_text)
        if theirs != ours:
            raise ConfigError(
                f"Cannot read shards {str(self.path)!r} with their tokenizer.json: its name, size and boundary are "
                f"{theirs}; expected {ours}. Delete the folder to prepare it again."
            )
        return found


def load_shards(path: Path, *, splits: Sequence[Split] = SPLITS, verify: bool = False) -> Shards:
    """Open prepared shards.

    Args:
        path: The folder.
        splits: Whose files are looked at; those of the others need not be there (a caged training lacks the test split).
        verify: Also read every file and compare its SHA-256; sizes are always compared.

    Raises:
        ConfigError: The folder is no whole set of shards.
    """
    try:
        text, manifest = _read_manifest(path)
        for name, entry in manifest["files"].items():
            if _split_of_file(name) in SPLITS and _split_of_file(name) not in splits:
                continue
            size = (path / name).stat().st_size
            if size != entry["n_bytes"]:
                raise ValueError(f"{name} has {size} bytes, not {entry['n_bytes']}")
            if verify and sha256_of(path / name) != entry["sha256"]:
                raise ValueError(f"{name} does not have the content that the manifest says")
        return Shards(
            path=path,
            hash=hashlib.sha256(text.encode()).hexdigest(),
            corpus=manifest["corpus"],
            n_tokens=manifest["n_tokens"],
            n_documents=manifest["n_documents"],
            n_bytes=manifest["n_bytes"],
            files=tuple(manifest["files"]),
            vocab_size=manifest["vocab_size"],
            end_of_text=manifest["end_of_text"],
            tokenizer_name=manifest["tokenizer"],
            dtype=manifest["dtype"],
        )
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"Cannot open shards {str(path)!r}: {error}; expected a folder that `prepare_shards` wrote. "
            f"Delete it to prepare it again."
        ) from None


def sha256_of(file: Path) -> str:
    """The SHA-256 of a file's content, read a piece at a time."""
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def _read_manifest(path: Path) -> tuple[str, dict[str, Any]]:
    text = (path / "manifest.json").read_text(encoding="utf-8")
    try:
        manifest: dict[str, Any] = json.loads(text)
    except ValueError:
        raise ValueError("its manifest.json is no JSON") from None
    if not isinstance(manifest, dict):
        raise ValueError("its manifest.json is no JSON object")
    if manifest.get("version") != SHARDS_VERSION:
        raise ValueError(f"it is of format {manifest.get('version')}, not {SHARDS_VERSION}")
    wrong = [name for name, kind in _MANIFEST.items() if not isinstance(manifest.get(name), kind)]
    wrong += [] if wrong else [f for f, entry in manifest["files"].items() if not _is_entry(entry)]
    if wrong:
        raise ValueError(f"its manifest.json does not say {', '.join(wrong)}")
    return text, manifest


def _is_entry(entry: object) -> bool:
    return isinstance(entry, dict) and {"n_bytes", "sha256"} <= entry.keys()


def _split_of_file(name: str) -> str:
    return name.partition(".")[0].partition("-")[0]
