"""One part of a corpus, read, tokenized and written: the work that processes do side by side."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from genesys.errors import ConfigError
from genesys.tokens import Tokenizer, load_tokenizer
from genesys.train.data.parts import SPLITS, Deal, Part, Split

FILE_BYTES = 256 * 2**20
"""The most that one file of tokens holds."""
_BATCH_CHARS = 2**19
_NUMBERS = ("lengths", "bytes")


@dataclass(frozen=True, slots=True, kw_only=True)
class PackTask:
    """A part to pack into a build's folder, where `tokenizer.json` stands; `file_bytes` is a multiple of 4."""

    folder: Path
    index: int
    part: Part
    file_bytes: int = FILE_BYTES


@dataclass(frozen=True, slots=True, kw_only=True)
class PackedPart:
    """What a packed part holds, by split; its files lie in `path`, which all that pack a corpus share.

    Attributes:
        files: For each split its files of tokens, with size and SHA-256.
    """

    path: Path
    index: int
    n_tokens: dict[str, int]
    n_documents: dict[str, int]
    n_bytes: dict[str, int]
    files: dict[str, list[dict[str, Any]]]

    def numbers(self, name: str) -> NDArray[np.uint64]:
        """One of the lists of numbers beside the tokens: `counts` of the train split, and `<split>.lengths` and `<split>.bytes`."""
        return np.fromfile(self.path / f"{name}.bin", dtype="<u8")


def token_dtype(vocab_size: int) -> str:
    """How tokens lie in files: `<u2` where they fit, else `<u4`."""
    return "<u2" if vocab_size <= 2**16 else "<u4"


def split_of(text: bytes, deal: Deal) -> Split:
    """Where a document goes. Of `all` 90% go to train, 5% to val, 5% to test; equal texts stay together."""
    if deal in ("train", "val", "test"):
        return deal
    number = int.from_bytes(hashlib.sha256(text).digest()[:8], "big")
    if deal == "held-out":
        return "val" if number % 2 else "test"
    bucket = number % 20
    return "val" if bucket == 18 else "test" if bucket == 19 else "train"


def find_packed(folder: Path, index: int) -> PackedPart | None:
    """A part that is packed already, and whole."""
    path = folder / f"part-{index:05}"
    try:
        data = json.loads((path / "part.json").read_text(encoding="utf-8"))
        found = PackedPart(path=path, index=index, **data)
        sizes = {f["name"]: f["n_bytes"] for files in found.files.values() for f in files}
        sizes |= {f"{split}.{kind}.bin": 8 * found.n_documents[split] for split in ("val", "test") for kind in _NUMBERS}
        return found if all((path / name).stat().st_size == size for name, size in sizes.items()) else None
    except (OSError, ValueError, TypeError, KeyError):
        return None


def pack_part(task: PackTask) -> PackedPart:
    """Pack a part, unless that was done; it appears by one rename, so that it is whole or not there.

    Raises:
        ConfigError: What is read is no good, holds the boundary token, or cannot be written.
        TransientError: It cannot be reached now.
    """
    found = find_packed(task.folder, task.index)
    if found is not None:
        return found
    tokenizer, final = load_tokenizer(task.folder), task.folder / f"part-{task.index:05}"
    temporary = Path(tempfile.mkdtemp(prefix=".part-", dir=task.folder))
    try:
        with writing_to(task.folder):
            writer = _PartWriter(temporary, tokenizer, task)
            for batch in _batches(task.part.documents()):
                if not writer.add(batch):
                    break
            writer.close()
            shutil.rmtree(final, ignore_errors=True)
            os.rename(temporary, final)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    packed = find_packed(task.folder, task.index)
    assert packed is not None, "it was renamed whole"
    return packed


class WriteRefused(ConfigError):
    """There is no room, or no permission, for what is packed; what is packed so far is kept."""


@contextmanager
def writing_to(folder: Path) -> Iterator[None]:
    """Turn a refused write (a full disk, a quota, no permission) into a sentence."""
    try:
        yield
    except OSError as error:
        raise WriteRefused(
            f"Cannot write shards to {str(folder)!r}: {error.strerror or error}. "
            f"Make room and start again; what is packed stays packed."
        ) from error


class _SplitWriter:
    """Writes the tokens of one split to files of bounded size, hashed as they are written."""

    def __init__(self, folder: Path, split: Split, file_bytes: int) -> None:
        self._folder, self._split, self._file_bytes = folder, split, file_bytes
        self._file: BinaryIO | None = None
        self._digest, self._size = hashlib.sha256(), 0
        self.files: list[dict[str, Any]] = []
        self.lengths: list[int] = []
        self.n_bytes: list[int] = []

    def write(self, data: memoryview) -> None:
        while data:
            if self._file is None:
                self._file = (self._folder / f"{self._split}-{len(self.files):05}.bin").open("wb")
                self._digest, self._size = hashlib.sha256(), 0
            piece = data[: self._file_bytes - self._size]
            self._file.write(piece)
            self._digest.update(piece)
            self._size += len(piece)
            data = data[len(piece) :]
            if self._size == self._file_bytes:
                self.close()

    def close(self) -> None:
        if self._file is None:
            return
        with self._file as file:
            file.flush()
            os.fsync(file.fileno())
        name = Path(file.name).name
        self.files.append({"name": name, "n_bytes": self._size, "sha256": self._digest.hexdigest()})
        self._file = None


class _PartWriter:
    """Tokenizes batches of documents and writes them by split; `add` says whether to go on."""

    def __init__(self, folder: Path, tokenizer: Tokenizer, task: PackTask) -> None:
        self._folder, self._tokenizer = folder, tokenizer
        self._deal, self._max_tokens = task.part.deal, task.part.max_tokens
        self._dtype = token_dtype(tokenizer.vocab_size)
        self._splits = {split: _SplitWriter(folder, split, task.file_bytes) for split in SPLITS}
        self._train_counts = np.zeros(tokenizer.vocab_size, dtype="<u8")
        self._n_tokens = 0

    def add(self, texts: Sequence[str]) -> bool:
        encoded = self._tokenizer.encode_many(texts)
        if self._max_tokens:
            totals = self._n_tokens + np.cumsum([len(tokens) + 1 for tokens in encoded])
            n = int(np.searchsorted(totals, self._max_tokens)) + 1
            texts, encoded = texts[:n], encoded[:n]
        raw = [text.encode() for text in texts]
        dealt = [split_of(text, self._deal) for text in raw]
        for split in dict.fromkeys(dealt):
            chosen = [i for i, goes_to in enumerate(dealt) if goes_to == split]
            self._write(split, [encoded[i] for i in chosen], [len(raw[i]) for i in chosen])
        self._n_tokens += sum(map(len, encoded)) + len(encoded)
        return not self._max_tokens or self._n_tokens < self._max_tokens

    def _write(self, split: Split, documents: Sequence[NDArray[np.int64]], n_bytes: Sequence[int]) -> None:
        writer, boundary = self._splits[split], np.array([self._tokenizer.end_of_text])
        stream = np.concatenate([piece for document in documents for piece in (document, boundary)])
        counts = np.bincount(stream, minlength=self._tokenizer.vocab_size)
        if counts[self._tokenizer.end_of_text] != len(documents):
            raise ConfigError(
                f"Cannot pack a text that holds the boundary token of {self._tokenizer.name!r}: documents could not be "
                f"told apart. Use another tokenizer."
            )
        if split == "train":
            self._train_counts += counts.astype("<u8")
        writer.write(memoryview(stream.astype(self._dtype).tobytes()))
        writer.lengths += [len(document) + 1 for document in documents]
        writer.n_bytes += n_bytes

    def close(self) -> None:
        """Write the numbers beside the tokens, and last of all `part.json`."""
        for split, writer in self._splits.items():
            writer.close()
            if split != "train":
                for kind, numbers in zip(_NUMBERS, (writer.lengths, writer.n_bytes), strict=True):
                    np.array(numbers, dtype="<u8").tofile(self._folder / f"{split}.{kind}.bin")
        self._train_counts.tofile(self._folder / "counts.bin")
        record = {
            "n_tokens": {split: sum(writer.lengths) for split, writer in self._splits.items()},
            "n_documents": {split: len(writer.lengths) for split, writer in self._splits.items()},
            "n_bytes": {split: sum(writer.n_bytes) for split, writer in self._splits.items()},
            "files": {split: writer.files for split, writer in self._splits.items()},
        }
        (self._folder / "part.json").write_text(json.dumps(record), encoding="utf-8")


def _batches(documents: Iterator[str]) -> Iterator[list[str]]:
    """Documents in groups of about half a million characters; half a surrogate pair becomes a question mark."""
    batch: list[str] = []
    size = 0
    for text in documents:
        batch.append(text if text.isascii() else text.encode(errors="replace").decode())
        size += len(text)
        if size >= _BATCH_CHARS:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch
