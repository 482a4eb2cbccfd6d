"""Corpora of one's own files: text, JSON lines and Parquet, each also gzipped."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import re
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

from genesys.errors import ConfigError
from genesys.train.data.parts import Deal, Split

KINDS = (".txt", ".md", ".jsonl", ".parquet")
PART_BYTES = 64 * 2**20
"""Small files are read together up to this size."""
_PIECE_CHARS = 2_000
_SQUEEZED = 3  # how much shorter prose becomes by gzip, about
_FEW_FILES = 50  # fewer files of text than this are cut into documents, else a split of the corpus might get none
_ENDS = re.compile(r"^<\|endoftext\|>\s*$")
_SPLIT_NAMES: Mapping[str, Split] = {
    "train": "train",
    "valid": "val",
    "val": "val",
    "validation": "val",
    "test": "test",
}
_SPLIT_FILE = re.compile(rf"({'|'.join(_SPLIT_NAMES)})([-_.]\d[-\w]*)?$")  # train, train-00000-of-00010
_MISREAD = (OSError, EOFError, ValueError, zlib.error)  # ValueError: no UTF-8, and what pyarrow calls invalid


@dataclass(frozen=True, slots=True, kw_only=True)
class FileCorpus:
    """A file, or a folder with all its files of a known kind.

    A folder with files called train, and valid (val, validation) or test, keeps those splits and no other file; where
    one of the two is missing, the other is dealt to both, by the hash of each text. All else is dealt to the three.
    A line of JSON with the field `text`, and a row of Parquet with that column, is a document. A text is cut into
    documents at lines of `<|endoftext|>`; without one, at blank lines about every 2,000 characters, or not at all where
    there are many files.
    """

    name: str
    path: Path

    @property
    def sources(self) -> Mapping[str, str]:
        return {}

    @property
    def stamp(self) -> str:
        """Names, sizes and times of the files."""
        found = [(str(f), f.stat().st_size, f.stat().st_mtime_ns) for f in self._files()]
        return hashlib.sha256(json.dumps(found).encode()).hexdigest()

    def parts(self) -> Sequence[FilePart]:
        files = self._files()
        cut = len(files) < _FEW_FILES
        groups: list[tuple[Deal, list[Path], int]] = []
        for file, deal in self._dealt(files):
            size = file.stat().st_size
            if groups and groups[-1][0] == deal and groups[-1][2] + size <= PART_BYTES:
                groups[-1] = (deal, [*groups[-1][1], file], groups[-1][2] + size)
            else:
                groups.append((deal, [file], size))
        return [FilePart(files=tuple(some), cut=cut, deal=deal) for deal, some, _ in groups]

    def _files(self) -> list[Path]:
        if not self.path.exists():
            raise ConfigError(
                f"Cannot read corpus {str(self.path)!r}: there is no such file or folder. "
                f"Correct the path after `corpus: text:`."
            )
        if self.path.is_file():
            return [self.path]
        files = sorted(f for f in self.path.rglob("*") if _kind(f) in KINDS and f.is_file())
        if not files:
            raise ConfigError(
                f"Cannot read corpus {str(self.path)!r}: the folder holds no {', '.join(KINDS)} file. Add one."
            )
        return files

    def _dealt(self, files: Sequence[Path]) -> list[tuple[Path, Deal]]:
        named = {file: split for file in files if file.parent == self.path and (split := _split(file))}
        splits = set(named.values())
        if not {"train"} < splits:
            return [(file, "all") for file in files]
        whole = {"train", "val", "test"} if len(splits) == 3 else {"train"}
        return [(file, split if split in whole else "held-out") for file, split in named.items()]


@dataclass(frozen=True, slots=True, kw_only=True)
class FilePart:
    """Some files of a corpus; `cut` says whether a text is cut into documents at blank lines."""

    files: tuple[Path, ...]
    cut: bool
    deal: Deal
    max_tokens: int = 0

    @property
    def text_bytes(self) -> int:
        return sum(f.stat().st_size * (_SQUEEZED if f.suffix in (".gz", ".parquet") else 1) for f in self.files)

    def documents(self) -> Iterator[str]:
        for file in self.files:
            try:
                yield from self._read(file)
            except _MISREAD as error:
                if isinstance(error, ConfigError):
                    raise
                raise ConfigError(
                    f"Cannot read corpus file {str(file)!r}: {' '.join(str(error).split())}; expected a whole file of UTF-8."
                ) from None

    def _read(self, file: Path) -> Iterator[str]:
        if _kind(file) == ".parquet":
            yield from _read_parquet(file)
            return
        with _open_text(file) as lines:
            yield from _read_jsonl(file, lines) if _kind(file) == ".jsonl" else _read_text(lines, cut=self.cut)


def _kind(file: Path) -> str:
    return Path(file.stem).suffix if file.suffix == ".gz" else file.suffix


def _split(file: Path) -> Split | None:
    stem = file.name.removesuffix(".gz").removesuffix(_kind(file))
    found = _SPLIT_FILE.match(stem)
    return _SPLIT_NAMES[found[1]] if found else None


def _open_text(file: Path) -> TextIO:
    if file.suffix == ".gz":
        return gzip.open(file, "rt", encoding="utf-8")
    return file.open(encoding="utf-8")


def _read_text(lines: Iterable[str], *, cut: bool) -> Iterator[str]:
    """Documents of one text; white space around each is dropped, all else is kept as it is."""
    group: list[str] = []
    size, marked = 0, False
    for line in lines:
        ends = line.startswith("<|") and _ENDS.match(line) is not None
        marked = marked or ends
        if ends or (cut and not marked and size >= _PIECE_CHARS and line.isspace()):
            yield from _document(group)
            group, size = [], 0
        else:
            group.append(line)
            size += len(line)
    yield from _document(group)


def _document(lines: Sequence[str]) -> Iterator[str]:
    text = "".join(lines).strip()
    if text:
        yield text


def _read_jsonl(file: Path, lines: Iterable[str]) -> Iterator[str]:
    for number, line in enumerate(lines, 1):
        if line.isspace():
            continue
        try:
            document: Any = json.loads(line)["text"]
        except (ValueError, KeyError, TypeError):
            document = None
        if not isinstance(document, str):
            raise ConfigError(
                f"Cannot read corpus file {str(file)!r}: line {number} is no object with a text field; "
                f'expected {{"text": "..."}} on each line.'
            )
        if document.strip():
            yield document


def _read_parquet(file: Path) -> Iterator[str]:
    try:
        from pyarrow import parquet, types
    except ImportError:
        raise ConfigError(
            f"Cannot read corpus file {str(file)!r}: pyarrow is not installed. Install genesys-evolution[eval]."
        ) from None
    opened = parquet.ParquetFile(io.BytesIO(gzip.decompress(file.read_bytes())) if file.suffix == ".gz" else file)
    schema = opened.schema_arrow
    if "text" not in schema.names or not (
        types.is_string(kind := schema.field("text").type) or types.is_large_string(kind)
    ):
        raise ConfigError(
            f"Cannot read corpus file {str(file)!r}: it has no column `text` of strings, but {', '.join(schema.names)}. "
            f"Rename its column of texts."
        )
    for batch in opened.iter_batches(columns=["text"], batch_size=1024):
        yield from (text for text in batch.column(0).to_pylist() if text and text.strip())
