"""The texts that a run trains on: a named corpus read into documents, and documents into byte tokens."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from genesys.errors import ConfigError
from genesys.train.data.docs import DEFAULT_PACKAGES, STANDARD_LIBRARY, read_docs

VOCAB_SIZE = 257
END_OF_TEXT = 256
"""The one boundary token; 0 to 255 are bytes."""

Tokens = NDArray[np.uint16]

DOCS_MIN_BYTES = 1_500_000
_SUFFIXES = (".txt", ".md", ".jsonl")
_PIECE_BYTES = 2_000
_FEW_FILES = 50  # fewer files than this are split, else a split of the corpus might get none


@dataclass(frozen=True, slots=True, kw_only=True)
class Corpus:
    """Documents in a fixed order, and the versions of what they were read from."""

    name: str
    documents: Sequence[str]
    sources: Mapping[str, str] = field(default_factory=dict)

    @property
    def n_bytes(self) -> int:
        return sum(len(text.encode()) for text in self.documents)


def read_corpus(corpus: str, cache_dir: Path) -> Corpus:
    """Read a corpus by its name.

    Args:
        corpus: `python-docs`: docstrings of the standard library, then of core dependencies until 1.5 MB are there;
            `python-docs+`: of all core dependencies; `python-docs:a,b`: of the standard library, `a` and `b`;
            `text:PATH`: a file, or a folder of .txt, .md and .jsonl files (field `text`).
        cache_dir: Extracted docstrings are kept there.

    Raises:
        ConfigError: An unknown corpus, a missing path or package.
    """
    kind, _, argument = corpus.partition(":")
    match kind, bool(argument):
        case ("python-docs", False):
            return _docs(corpus, DEFAULT_PACKAGES, cache_dir, min_bytes=DOCS_MIN_BYTES)
        case ("python-docs+", False):
            return _docs(corpus, DEFAULT_PACKAGES, cache_dir)
        case ("python-docs", True):
            packages = [name.strip() for name in argument.split(",") if name.strip()]
            return _docs(corpus, dict.fromkeys([STANDARD_LIBRARY, *packages]), cache_dir)
        case ("text", True):
            return Corpus(name=corpus, documents=tuple(_read_path(Path(argument).expanduser())))
    raise ConfigError(f"Cannot read corpus {corpus!r}: no such corpus; expected `python-docs` or `text:PATH`.")


def encode(text: str) -> Tokens:
    """The byte tokens of a text, without boundary."""
    return np.frombuffer(text.encode(), dtype=np.uint8).astype(np.uint16)


def decode(tokens: Sequence[int]) -> str:
    """The text of byte tokens; boundaries become line ends, broken UTF-8 the replacement sign."""
    return bytes(10 if token == END_OF_TEXT else token for token in tokens).decode(errors="replace")


def _docs(
    name: str, packages: Sequence[str] | Mapping[str, None], cache_dir: Path, min_bytes: int | None = None
) -> Corpus:
    found = list(read_docs(packages, cache_dir, min_bytes=min_bytes))
    return Corpus(
        name=name,
        documents=tuple(dict.fromkeys(text for docs in found for text in docs.documents)),
        sources={docs.package: docs.version for docs in found},
    )


def _read_path(path: Path) -> Iterator[str]:
    if not path.exists():
        raise ConfigError(
            f"Cannot read corpus {str(path)!r}: there is no such file or folder. Correct the path after `corpus: text:`."
        )
    files = [path] if path.is_file() else sorted(f for f in path.rglob("*") if f.suffix in _SUFFIXES and f.is_file())
    if not files:
        raise ConfigError(
            f"Cannot read corpus {str(path)!r}: the folder holds no {', '.join(_SUFFIXES)} file. Add one."
        )
    for file in files:
        yield from _read_file(file, split=len(files) < _FEW_FILES)


def _read_file(file: Path, *, split: bool) -> Iterator[str]:
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"Cannot read corpus file {str(file)!r}: {error}; expected readable UTF-8 text.") from None
    if file.suffix == ".jsonl":
        yield from _read_jsonl(file, text)
    elif split:
        yield from _pieces(text)
    elif text.strip():
        yield text


def _read_jsonl(file: Path, text: str) -> Iterator[str]:
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        try:
            document = json.loads(line)["text"]
        except (ValueError, KeyError, TypeError):
            document = None
        if not isinstance(document, str):
            raise ConfigError(
                f"Cannot read corpus file {str(file)!r}: line {number} is no object with a text field; "
                f'expected {{"text": "..."}} on each line.'
            )
        if document.strip():
            yield document


def _pieces(text: str) -> Iterator[str]:
    """Groups of whole paragraphs, about `_PIECE_BYTES` each: the documents of one large file."""
    group: list[str] = []
    size = 0
    for paragraph in re.split(r"\n\s*\n", text):
        if not paragraph.strip():
            continue
        group.append(paragraph)
        size += len(paragraph.encode())
        if size >= _PIECE_BYTES:
            yield "\n\n".join(group)
            group, size = [], 0
    if group:
        yield "\n\n".join(group)
