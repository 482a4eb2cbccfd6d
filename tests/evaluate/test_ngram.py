"""The n-gram baseline is a proper model: against a definition written out over dictionaries, and on text."""

from __future__ import annotations

from collections import Counter, defaultdict

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from genesys.evaluate.ngram import ngram_model
from genesys.evaluate.questions import Question, plan

VOCAB = 4


def by_definition(corpus: list[int], order: int, vocab: int) -> dict[int, dict[tuple[int, ...], Counter[int]]]:
    """For each order, the counts of what follows each context: raw at the top, of distinct left neighbours below."""
    n = min(order, len(corpus))
    grams = {k: Counter(tuple(corpus[i : i + k]) for i in range(len(corpus) - k + 1)) for k in range(1, n + 1)}
    tables: dict[int, dict[tuple[int, ...], Counter[int]]] = {}
    for k in range(1, n + 1):
        counts = grams[k] if k == n else Counter({gram: 0 for gram in grams[k]})
        if k < n:
            counts.update(gram[1:] for gram in grams[k + 1])
        table: dict[tuple[int, ...], Counter[int]] = defaultdict(Counter)
        for gram, count in counts.items():
            table[gram[:-1]][gram[-1]] = count
        tables[k] = table
    return tables


def probability(tables: dict[int, dict[tuple[int, ...], Counter[int]]], context: list[int], token: int) -> float:
    p = 1 / VOCAB
    for k, table in tables.items():
        if k - 1 > len(context):
            break
        every = [count for after in table.values() for count in after.values()]
        once, twice = every.count(1), every.count(2)
        discount = (once + 1) / (once + 2 * twice + 2)
        after = table.get(tuple(context[len(context) - k + 1 :]), Counter())
        if total := sum(after.values()):
            kept = {t: max(count - discount, 0) for t, count in after.items()}
            p = kept.get(token, 0) / total + (1 - sum(kept.values()) / total) * p
    return p


tokens = st.integers(0, VOCAB - 1)


@given(st.lists(tokens, min_size=1, max_size=40), st.lists(tokens, min_size=1, max_size=8), st.integers(1, 5))
@settings(deadline=None)
def test_probabilities_are_those_of_the_definition(corpus: list[int], row: list[int], order: int) -> None:
    model = ngram_model(np.array(corpus), vocab_size=VOCAB, order=order)
    tables = by_definition(corpus, order, VOCAB)
    for token in range(VOCAB):
        (answer,) = model.answer([Question(np.array(row), np.array([token]))])
        assert np.exp(-answer.nats_T[0]) == pytest.approx(probability(tables, row, token), rel=1e-4)


@given(st.lists(tokens, min_size=1, max_size=200), st.lists(tokens, min_size=1, max_size=30))
@settings(deadline=None)
def test_probabilities_sum_to_one_everywhere(corpus: list[int], row: list[int]) -> None:
    model = ngram_model(np.array(corpus), vocab_size=VOCAB + 2)
    (batch,) = plan([Question(np.array(row), np.zeros(len(row), np.int64))])
    p_PV = np.exp(model.logits_fn(batch))
    assert (p_PV > 0).all()
    np.testing.assert_allclose(p_PV.sum(-1), 1, atol=1e-5)


def test_it_learns_what_a_context_says_and_a_longer_context_says_more() -> None:
    generator = np.random.default_rng(0)
    words = [generator.integers(0, 30, size=6) for _ in range(20)]
    text = np.concatenate([words[i] for i in generator.integers(20, size=3000)])
    held_out = np.concatenate([words[i] for i in generator.integers(20, size=300)])
    question = Question(held_out[:-1], held_out[1:])
    losses = [
        float(ngram_model(text, vocab_size=30, order=n).answer([question])[0].nats_T.mean()) for n in (1, 2, 4, 6)
    ]
    assert losses == sorted(losses, reverse=True)
    assert losses[-1] < 0.75  # a word in six tokens: ln(20) / 6 = 0.5
    (added,) = ngram_model(text, vocab_size=30, order=6).extend([words[3][:5]], 1)
    assert added.tolist() == [words[3][5]]


@pytest.mark.parametrize(
    ("corpus", "order", "message"),
    [([], 3, "count 0 tokens"), ([1, 2], 0, "at order 0"), ([1, 4], 2, "tokens up to 4: expected them below 4")],
)
def test_what_cannot_be_counted(corpus: list[int], order: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ngram_model(np.array(corpus, np.int64), vocab_size=VOCAB, order=order)
