"""The texts that a run trains on: a corpus by its name, in parts that processes can read side by side."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from genesys.errors import ConfigError
from genesys.tokens import ByteTokenizer
from genesys.train.data.dataset import DatasetCorpus
from genesys.train.data.docs import DEFAULT_PACKAGES, FILTER_VERSION, STANDARD_LIBRARY, read_docs
from genesys.train.data.files import FileCorpus
from genesys.train.data.parts import Part, Source, Texts

VOCAB_SIZE = ByteTokenizer.vocab_size
END_OF_TEXT = ByteTokenizer.end_of_text
"""Of the byte tokenizer; shards say which they were packed with."""

DOCS_MIN_BYTES = 1_500_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Corpus:
    """Documents in memory, in a fixed order, and the versions of what they were read from."""

    name: str
    documents: Sequence[str]
    sources: Mapping[str, str] = field(default_factory=dict)

    @property
    def n_bytes(self) -> int:
        return sum(len(text.encode()) for text in self.documents)

    @property
    def stamp(self) -> str:
        return json.dumps([FILTER_VERSION, dict(self.sources)], sort_keys=True)

    def parts(self) -> Sequence[Part]:
        return (Texts(texts=self.documents),)


def open_corpus(corpus: str | DatasetCorpus, cache_dir: Path) -> Source:
    """Find a corpus.

    Args:
        corpus: `python-docs`: docstrings of the standard library, then of core dependencies until 1.5 MB are there;
            `python-docs+`: of all core dependencies; `python-docs:a,b`: of the standard library, `a` and `b`;
            `text:PATH`: a file, or a folder of files; see `FileCorpus`. Or a data set of the `datasets` library.
        cache_dir: Extracted docstrings are kept there.

    Raises:
        ConfigError: An unknown corpus, a missing path or package.
    """
    if isinstance(corpus, DatasetCorpus):
        return corpus
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
            return FileCorpus(name=corpus, path=Path(argument).expanduser())
    raise ConfigError(
        f"Cannot read corpus {corpus!r}: no such corpus; expected `python-docs`, `text:PATH`, or a mapping with `dataset`."
    )


def read_corpus(corpus: str | DatasetCorpus, cache_dir: Path) -> Corpus:
    """Read a small corpus into memory; see `open_corpus`."""
    found = open_corpus(corpus, cache_dir)
    documents = [text for part in found.parts() for text in part.documents()]
    return Corpus(name=found.name, documents=documents, sources=found.sources)


def _docs(
    name: str, packages: Sequence[str] | Mapping[str, None], cache_dir: Path, min_bytes: int | None = None
) -> Corpus:
    found = list(read_docs(packages, cache_dir, min_bytes=min_bytes))
    return Corpus(
        name=name,
        documents=tuple(dict.fromkeys(text for docs in found for text in docs.documents)),
        sources={docs.package: docs.version for docs in found},
    )
