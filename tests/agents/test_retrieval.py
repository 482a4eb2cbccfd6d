"""Similar means near (law 23)."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from genesys.agents.retrieval import Bm25Retriever, Document, document_of, library_documents
from genesys.evolution.evidence import Known
from genesys.roles.effects import Passage, Search
from genesys.roles.wording import searchable

WORDS = st.lists(
    st.sampled_from(["gate", "norm", "scan", "conv", "rotary", "head", "state", "decay", "mix"]),
    min_size=1,
    max_size=12,
)
TEXTS = st.lists(WORDS.map(" ".join), min_size=1, max_size=8)


def document(name: str, text: str, **rest: Any) -> Document:
    return Document(**({"source": "design", "name": name, "title": "", "text": text} | rest))


def search(documents: Any, query: str, **options: Any) -> tuple[Passage, ...]:
    return asyncio.run(Bm25Retriever(documents).search(Search(query=query, **({"n": 100} | options))))


def similarity(documents: list[Document], query: str, name: str) -> float:
    return next((p.similarity for p in search(documents, query) if p.name == name), 0.0)


@given(TEXTS)
def test_equal_texts_are_1_and_come_first(texts: list[str]) -> None:
    documents = [document(str(i), text) for i, text in enumerate(texts)]
    for i, text in enumerate(texts):
        found = search(documents, text)
        assert [p.similarity for p in found] == sorted((p.similarity for p in found), reverse=True)
        assert all(0 < p.similarity <= 1 for p in found)
        assert found[0].similarity == 1.0
        assert similarity(documents, text, str(i)) == 1.0


@given(TEXTS, st.integers(0, 7), st.integers(0, 7))
def test_near_is_the_same_in_both_directions(texts: list[str], a: int, b: int) -> None:
    documents = [document(str(i), text) for i, text in enumerate(texts)]
    a, b = a % len(texts), b % len(texts)
    there, back = similarity(documents, texts[a], str(b)), similarity(documents, texts[b], str(a))
    assert there == pytest.approx(back, abs=2e-6)


@given(TEXTS, WORDS)
def test_adding_one_by_one_is_adding_at_once(texts: list[str], query: list[str]) -> None:
    documents = [document(str(i), text) for i, text in enumerate(texts)]
    grown = Bm25Retriever()
    for one in documents:
        grown.add(one)
        asyncio.run(grown.search(Search(query="gate")))
    assert asyncio.run(grown.search(Search(query=" ".join(query), n=100))) == search(documents, " ".join(query))


def test_small_and_empty_collections_answer() -> None:
    assert search([], "gate") == ()
    assert search([document("a", "")], "gate") == ()
    assert search([document("a", "gate")], "") == ()
    assert search([document("a", "gate")], "?!") == ()
    assert search([document("a", "gate")], "gate", n=0) == ()
    assert search([document("a", "gate")], "scan") == ()


def test_rare_words_count_for_more_than_common_ones() -> None:
    documents = [document(str(i), f"attention block number {i}") for i in range(20)]
    documents += [document("rare", "attention hyperbolic")]
    found = search(documents, "hyperbolic attention thing")
    assert found[0].name == "rare" and found[0].similarity > 2 * found[1].similarity


def test_only_the_sources_asked_for_are_searched() -> None:
    documents = [document("a", "gate"), document("b", "gate", source="failure"), document("c", "gate", source="unit")]
    assert [p.name for p in search(documents, "gate", sources=("failure", "paper"))] == ["b"]


def test_a_document_that_comes_again_replaces_the_one_before() -> None:
    assert [p.text for p in search([document("a", "gate scan"), document("a", "gate norm")], "gate")] == ["gate norm"]


def test_what_is_found_fits_its_room() -> None:
    documents = [document(str(i), "gate " * 400, title="t") for i in range(5)]
    found = search(documents, "gate", n_tokens=1100)
    assert sum(len(p.title) + len(p.text) for p in found) <= 4400
    assert [len(p.text) for p in found] == [2000, 2000, 397]
    assert len(search(documents, "gate", n=2)) == 2


def test_parts_of_names_are_words() -> None:
    assert search(library_documents(), "a gated convolution, short conv")[0].name in ("GatedConv", "ShortConv")
    assert search([document("a", "LinearAttention")], "linear_attention")[0].similarity == 1.0


def test_a_past_proposal_is_found_by_its_title_and_abstract() -> None:
    known = Known(design="d1", name="n", title="Fading sums", abstract="A mixer whose weights fade.", outcome="rejected",
                  cause="[causality] it looks ahead")  # fmt: skip
    (found,) = search([document_of(known)], searchable(known.title, known.abstract))
    assert (found.source, found.name, found.similarity) == ("failure", "d1", 1.0)
    assert "it looks ahead" in found.text


def test_what_came_of_a_design_is_told_of_failures_alone() -> None:
    known = Known(
        design="d1", name="n", title="Fading sums", abstract="Fades.", outcome="verified", cause="beat its parent"
    )
    document = document_of(known)
    assert (document.source, document.text, document.note) == ("design", "Fades.", "")
