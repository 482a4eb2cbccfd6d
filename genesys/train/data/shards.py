"""Token shards on disk: three splits of a corpus, prepared once and checked whenever they are opened.

A folder holds `train.bin`, `val.bin`, `test.bin` (little-endian uint16, documents each followed by the boundary
token), `val.offsets.bin` and `test.offsets.bin` (uint64, where each document begins, and the total at the end) and
`manifest.json`. It comes into being by one rename, so a preparation that is killed or runs twice leaves no half folder.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from genesys.errors import ConfigError
from genesys.train.data.corpus import END_OF_TEXT, VOCAB_SIZE, Corpus, Tokens, encode, read_corpus
from genesys.train.data.docs import FILTER_VERSION, package_version

Split = Literal["train", "val", "test"]
SPLITS: tuple[Split, ...] = ("train", "val", "test")
SHARDS_VERSION = 1
MIN_TOKENS: Mapping[Split, int] = {"train": 32_768, "val": 1_024, "test": 1_024}


@dataclass(frozen=True, slots=True, kw_only=True)
class Shards:
    """One prepared folder of tokens.

    Attributes:
        hash: SHA-256 of the manifest, which holds the SHA-256 of every file: equal hash, equal data.
        n_tokens, n_documents: By split, boundary tokens counted as tokens.
    """

    path: Path
    hash: str
    corpus: str
    n_tokens: Mapping[str, int]
    n_documents: Mapping[str, int]
    n_bytes: Mapping[str, int]
    vocab_size: int = VOCAB_SIZE

    def tokens(self, split: Split) -> Tokens:
        """All tokens of a split, mapped from the file and read-only."""
        return np.memmap(self.path / f"{split}.bin", dtype="<u2", mode="r")

    def offsets(self, split: Literal["val", "test"]) -> NDArray[np.uint64]:
        """Where each document of a split begins, and the total at the end; shape (n_documents + 1,)."""
        return np.fromfile(self.path / f"{split}.offsets.bin", dtype="<u8")


def prepare_shards(corpus: str, cache_dir: Path) -> Shards:
    """Give the shards of a corpus, writing them on first use.

    Safe against a kill and against another process that does the same at the same time.

    Raises:
        ConfigError: The corpus cannot be read, or holds too little text; the message says how much it needs.
    """
    pointer = cache_dir / "shards" / f"{_slug(corpus)}.json"
    found = _follow(pointer) if corpus.startswith("python-docs") else None
    if found is not None:
        return found
    texts = read_corpus(corpus, cache_dir)
    shards = write_shards(texts, cache_dir / "shards")
    _write_atomically(pointer, json.dumps({"path": shards.path.name, "sources": _versions(texts)}))
    return shards


def write_shards(corpus: Corpus, folder: Path) -> Shards:
    """Write a corpus as shards into a subfolder of `folder` that is named by their hash."""
    folder.mkdir(parents=True, exist_ok=True)
    parts = split_documents(corpus.documents)
    _check_enough(corpus, parts)
    temporary = Path(tempfile.mkdtemp(prefix=".shards-", dir=folder))
    try:
        manifest = _write_files(corpus, parts, temporary)
        text = json.dumps(manifest, sort_keys=True, indent=1)
        (temporary / "manifest.json").write_text(text, encoding="utf-8")
        final = folder / _sha256(text.encode())[:16]
        try:
            os.rename(temporary, final)
        except OSError:
            load_shards(final)  # another process was faster; theirs must be whole
        return load_shards(final)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


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
        text = (path / "manifest.json").read_text(encoding="utf-8")
        manifest: dict[str, Any] = json.loads(text)
        for name, entry in manifest["files"].items():
            if name.partition(".")[0] not in splits:
                continue
            if (path / name).stat().st_size != entry["n_bytes"]:
                raise ValueError(f"{name} has {(path / name).stat().st_size} bytes, not {entry['n_bytes']}")
            if verify and _sha256((path / name).read_bytes()) != entry["sha256"]:
                raise ValueError(f"{name} does not have the content that the manifest says")
        if manifest["version"] != SHARDS_VERSION:
            raise ValueError(f"format {manifest['version']}, not {SHARDS_VERSION}")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigError(
            f"Cannot open shards {str(path)!r}: {error}; expected a folder that `prepare_shards` wrote. Delete it to prepare it again."
        ) from None
    return Shards(
        path=path,
        hash=_sha256(text.encode()),
        corpus=manifest["corpus"],
        n_tokens=manifest["n_tokens"],
        n_documents=manifest["n_documents"],
        n_bytes=manifest["n_bytes"],
        vocab_size=manifest["vocab_size"],
    )


def split_documents(documents: Sequence[str]) -> Mapping[Split, list[str]]:
    """Deal documents to train 90%, val 5%, test 5% by the hash of their text: equal texts stay together."""
    parts: dict[Split, list[str]] = {split: [] for split in SPLITS}
    for text in documents:
        bucket = int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") % 20
        split: Split = "val" if bucket == 18 else "test" if bucket == 19 else "train"
        parts[split].append(text)
    return parts


def _check_enough(corpus: Corpus, parts: Mapping[Split, Sequence[str]]) -> None:
    for split, minimum in MIN_TOKENS.items():
        n = sum(len(text.encode()) + 1 for text in parts[split])
        if n < minimum:
            raise ConfigError(
                f"Cannot train on corpus {corpus.name!r}: its {split} split has {n:,} tokens in {len(parts[split])} of "
                f"{len(corpus.documents)} documents; expected at least {minimum:,}. Add text: about 200 kB in 50 or more "
                f"documents (blank-line separated paragraphs in one file, or several files) is a good start."
            )


def _write_files(corpus: Corpus, parts: Mapping[Split, Sequence[str]], folder: Path) -> dict[str, Any]:
    n_tokens: dict[str, int] = {}
    for split, texts in parts.items():
        pieces = [np.append(encode(text), np.uint16(END_OF_TEXT)) for text in texts]
        lengths = np.array([0] + [len(piece) for piece in pieces], dtype="<u8")
        n_tokens[split] = int(lengths.sum())
        np.concatenate(pieces).astype("<u2").tofile(folder / f"{split}.bin")
        if split != "train":
            np.cumsum(lengths, dtype="<u8").tofile(folder / f"{split}.offsets.bin")
    return {
        "version": SHARDS_VERSION,
        "corpus": corpus.name,
        "sources": dict(corpus.sources),
        "vocab_size": VOCAB_SIZE,
        "n_tokens": n_tokens,
        "n_documents": {split: len(texts) for split, texts in parts.items()},
        "n_bytes": {split: n_tokens[split] - len(texts) for split, texts in parts.items()},
        "files": {
            f.name: {"n_bytes": f.stat().st_size, "sha256": _sha256(f.read_bytes())} for f in sorted(folder.iterdir())
        },
    }


def _follow(pointer: Path) -> Shards | None:
    """The shards that a pointer names, if the packages are still those they were read from."""
    try:
        data = json.loads(pointer.read_text(encoding="utf-8"))
        if any(
            package_version(package) != version for package, version in data["sources"].items() if package != "filter"
        ):
            return None
        return (
            load_shards(pointer.parent / data["path"])
            if data["sources"]["filter"] == _versions(None)["filter"]
            else None
        )
    except (OSError, ValueError, KeyError, ConfigError):
        return None


def _versions(corpus: Corpus | None) -> dict[str, str]:
    return {**(corpus.sources if corpus else {}), "filter": str(FILTER_VERSION)}


def _write_atomically(path: Path, text: str) -> None:
    with tempfile.NamedTemporaryFile("w", encoding="utf-8", dir=path.parent, suffix=".tmp", delete=False) as file:
        file.write(text)
    os.replace(file.name, path)


def _slug(corpus: str) -> str:
    return "".join(c if c.isalnum() else "-" for c in corpus)[:40] + "-" + _sha256(corpus.encode())[:8]


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
