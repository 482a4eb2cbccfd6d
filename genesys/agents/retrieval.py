"""What a session may read beside its prompt: passages near to a text, nearest first (law 23)."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from genesys.evolution.evidence import Known
from genesys.gau.library import library
from genesys.roles.effects import Passage, Search, Source

_BYTES_PER_TOKEN = 4
_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+|[^\W\d_a-zA-Z]+")
_SATURATION = 1.2  # BM25's k1
Row = NDArray[np.float64]
_FAILURES = frozenset({"failed", "rejected", "proposal-failed"})


class Retriever(Protocol):
    """Finds passages; one for all sessions of a process."""

    async def search(self, search: Search) -> tuple[Passage, ...]:
        """At most `search.n` passages of the sources asked for, nearest first, within `search.n_tokens` together."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """A text that may be found.

    Attributes:
        name: What to cite it by, unlike that of any other of its source.
        note: Shown below the text, but not searched, such as the cause of a failure.
    """

    source: Source
    name: str
    title: str
    text: str
    note: str = ""


@dataclass(frozen=True, slots=True)
class _Indexed:
    document: Document
    words: NDArray[np.int32]
    counts: Row


class Bm25Retriever:
    """Documents in memory, compared word by word.

    Similarity is the cosine of the two texts' BM25 weights (saturated counts times rarity): 1 for equal words in equal
    numbers, 0 for no word in common, the same in both directions. Words are parts of names, too: `GatedConv` holds
    `gated` and `conv`. A document that comes again under its source and name replaces the one before. What comes is searched from
    the next search on: 5,000 texts of 300 words are taken in anew within some tens of milliseconds, so that there is
    no index to be kept up.

    Source: Robertson and Zaragoza 2009, with the cosine in place of the weight of a document's length.
    """

    def __init__(self, documents: Iterable[Document] = ()) -> None:
        self._entries: dict[tuple[Source, str], _Indexed] = {}
        self._vocabulary: dict[str, int] = {}
        self._index: _Index | None = None
        for document in documents:
            self.add(document)

    def add(self, document: Document) -> None:
        """Take in a document."""
        words = Counter(_words(f"{document.title}\n{document.text}"))
        ids = [self._vocabulary.setdefault(word, len(self._vocabulary)) for word in words]
        entry = _Indexed(document, np.array(ids, np.int32), _saturated(words.values()))
        self._entries[document.source, document.name] = entry
        self._index = None

    async def search(self, search: Search) -> tuple[Passage, ...]:
        """See `Retriever.search`."""
        if self._index is None:
            self._index = _Index(tuple(self._entries.values()), self._vocabulary)
        entries, similarities = self._index.entries, self._index.similarities(search.query)
        nearest = (
            _passage(entries[i].document, float(similarities[i]))
            for i in np.argsort(-similarities, kind="stable")
            if similarities[i] > 0 and entries[i].document.source in search.sources
        )
        return _within(nearest, search.n, search.n_tokens)


class _Index:
    """All documents' weights in one row, document after document."""

    def __init__(self, entries: tuple[_Indexed, ...], vocabulary: Mapping[str, int]) -> None:
        self.entries, self._vocabulary = tuple(entry for entry in entries if len(entry.words)), vocabulary
        self._words = np.concatenate([np.zeros(0, np.int32), *(entry.words for entry in self.entries)])
        lengths = [len(entry.words) for entry in self.entries]
        self._starts = np.cumsum([0, *lengths])[:-1]
        n_with = np.bincount(self._words, minlength=len(vocabulary))
        self._rarity: Row = np.log1p((len(entries) - n_with + 0.5) / (n_with + 0.5))
        self._unknown_rarity = float(np.log1p(2 * len(entries) + 1))
        counts = np.concatenate([np.zeros(0), *(entry.counts for entry in self.entries)])
        self._weights: Row = counts * self._rarity[self._words]
        self._sizes: Row = np.sqrt(self._sums(self._weights**2))

    def similarities(self, query: str) -> Row:
        """Of a query to each entry. A word that no entry holds makes it less similar to all."""
        counts = Counter(_words(query))
        weights, n_unknown = np.zeros(len(self._rarity)), 0.0
        for word, saturated in zip(counts, _saturated(counts.values()), strict=True):
            if word in self._vocabulary:
                weights[self._vocabulary[word]] = saturated * self._rarity[self._vocabulary[word]]
            else:
                n_unknown += float(saturated * self._unknown_rarity) ** 2
        size = math.sqrt(float(weights @ weights) + n_unknown)
        if not counts or not self.entries:
            return np.zeros(len(self.entries))
        shared = self._sums(self._weights * weights[self._words])
        cosines: Row = shared / (self._sizes * size)
        return cosines.clip(max=1.0).round(6)

    def _sums(self, row: Row) -> Row:
        """Of each entry's part of a row."""
        sums: Row = np.add.reduceat(row, self._starts) if len(self._starts) else np.zeros(0)
        return sums


def library_documents() -> tuple[Document, ...]:
    """The units that Genesys ships."""
    return tuple(
        Document(source="unit", name=unit.name, title=f"{unit.name} ({unit.kind})", text=unit.source)
        for unit in library().values()
    )


def document_of(known: Known) -> Document:
    """A design or a failure of the run as it may be found: by its title and abstract.

    What came of it is told of failures alone, which those who may not know any results do not search.
    """
    failed = known.outcome in _FAILURES
    note = " ".join(filter(None, (f"Outcome: {known.outcome}.", f"Cause: {known.cause}" if known.cause else "")))
    return Document(
        source="failure" if failed else "design", name=known.design, title=known.title or known.name,
        text=known.abstract, note=note if failed else "",
    )  # fmt: skip


def _words(text: str) -> list[str]:
    return [word.lower() for word in _WORD.findall(text)]


def _saturated(counts: Iterable[int]) -> Row:
    n: Row = np.fromiter(counts, np.float64)
    saturated: Row = n * (_SATURATION + 1) / (n + _SATURATION)
    return saturated


def _passage(document: Document, similarity: float) -> Passage:
    text = "\n".join(filter(None, (document.text, document.note)))
    return Passage(source=document.source, name=document.name, title=document.title, text=text, similarity=similarity)


def _within(nearest: Iterable[Passage], n: int, n_tokens: int) -> tuple[Passage, ...]:
    """The first passages that fit; the last is shortened, at four bytes for a token."""
    kept: list[Passage] = []
    left = n_tokens * _BYTES_PER_TOKEN
    for passage in nearest:
        left -= len(passage.title.encode())
        if len(kept) == n or left <= 0:
            break
        text = passage.text.encode()[:left].decode(errors="ignore")
        left -= len(text.encode())
        kept.append(replace(passage, text=text))
    return tuple(kept)
