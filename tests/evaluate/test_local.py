"""Whoever answers gives the same answers for any set of questions in any order."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from genesys.evaluate.local import LocalModel
from genesys.evaluate.questions import Question, Tokens, plan

CONTEXT, VOCAB = 12, 7


def causal_logits(tokens_BL: Tokens) -> NDArray[np.float32]:
    """A model that sees the whole past: a random matrix on a decaying sum of embeddings."""
    generator = np.random.default_rng(0)
    embedding, head = generator.normal(size=(VOCAB, 5)), generator.normal(size=(5, VOCAB))
    state, out = np.zeros((len(tokens_BL), 5)), []
    for column in tokens_BL.T:
        state = np.tanh(0.9 * state + embedding[column])
        out.append(state @ head)
    return np.stack(out, 1).astype(np.float32)


def local_model(max_tokens: int = 40) -> LocalModel:
    return LocalModel(
        logits_fn=lambda batch: causal_logits(batch.inputs_BL)[batch.rows_P, batch.places_P],
        context=CONTEXT,
        max_tokens=max_tokens,
    )


@st.composite
def questions(draw: st.DrawFn) -> list[Question]:
    """Questions over few tokens, so that many rows are equal or begin another."""
    rows = draw(st.lists(st.lists(st.integers(0, 2), min_size=1, max_size=CONTEXT), max_size=20))
    n_targets = [draw(st.integers(1, len(row))) for row in rows]
    targets = [draw(st.lists(st.integers(0, VOCAB - 1), min_size=n, max_size=n)) for n in n_targets]
    return [Question(np.array(r), np.array(t)) for r, t in zip(rows, targets, strict=True)]


@given(questions(), st.integers(1, 60))
@settings(deadline=None)
def test_answers_are_those_of_each_question_alone(asked: list[Question], max_tokens: int) -> None:
    together = local_model(max_tokens).answer(asked)
    assert len(together) == len(asked)
    for question, answer in zip(asked, together, strict=True):
        logits = causal_logits(question.inputs_L[None])[0, -len(question.targets_T) :].astype(np.float64)
        log_p = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
        np.testing.assert_allclose(answer.nats_T, -log_p[np.arange(len(log_p)), question.targets_T], atol=1e-5)
        np.testing.assert_array_equal(answer.right_T, logits.argmax(-1) == question.targets_T)


@given(questions(), st.randoms())
@settings(deadline=None)
def test_the_order_of_the_questions_changes_nothing(asked: list[Question], random: object) -> None:
    order = np.random.default_rng(random.randrange(2**32)).permutation(len(asked))  # type: ignore[attr-defined]
    straight = local_model().answer(asked)
    shuffled = local_model().answer([asked[i] for i in order])
    for place, i in enumerate(order):
        np.testing.assert_array_equal(shuffled[place].nats_T, straight[i].nats_T)


@given(questions(), st.integers(1, 60))
@settings(deadline=None)
def test_no_row_is_run_twice_and_batches_keep_their_bound(asked: list[Question], max_tokens: int) -> None:
    batches = plan(asked, max_tokens=max_tokens)
    assert sorted(i for batch in batches for i in batch.questions_Q) == list(range(len(asked)))
    for batch in batches:
        assert batch.inputs_BL.size <= max_tokens or len(batch.inputs_BL) == 1
        assert len(set(zip(batch.rows_P.tolist(), batch.places_P.tolist(), strict=True))) == len(batch.rows_P)
    needed = {tuple(q.inputs_L) for q in asked}
    needed = {row for row in needed if not any(other[: len(row)] == row and other != row for other in needed)}
    assert sum(len(batch.inputs_BL) for batch in batches) == len(needed)


def test_extension_is_the_first_choice_step_by_step_and_forgets_what_does_not_fit() -> None:
    prompts = [np.array([1, 2]), np.array([3] * CONTEXT), np.array([1, 2])]
    for prompt, added in zip(prompts, local_model().extend(prompts, 6), strict=True):
        row = prompt
        for token in added:
            assert token == causal_logits(row[None, -CONTEXT:])[0, -1].argmax()
            row = np.append(row, token)


def test_a_row_beyond_the_context_is_refused() -> None:
    long = Question(np.zeros(CONTEXT + 1, np.int64), np.zeros(1, np.int64))
    with pytest.raises(ValueError, match="a question of 13 tokens: expected at most 12"):
        local_model().answer([long])
