"""The figures beside lm-eval's metrics: choice probabilities, errors, groups."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from genesys.evaluate.harness.scores import TaskScore, choice_probabilities, group_score, mcc_se, mean_se, share_se

choices = st.lists(st.tuples(st.floats(0, 400), st.integers(1, 300)), min_size=2, max_size=6)


@given(choices)
def test_probabilities_are_a_distribution_that_prefers_the_likelier_byte(pairs: list[tuple[float, int]]) -> None:
    nats, n_bytes = (np.array(column) for column in zip(*pairs, strict=True))
    p = choice_probabilities(nats, n_bytes)
    assert p.sum() == pytest.approx(1)
    order = np.argsort(nats / n_bytes)
    assert (np.diff(p[order]) <= 1e-12).all()


@given(st.floats(0.01, 10), st.lists(st.integers(1, 300), min_size=2, max_size=6))
def test_equally_likely_bytes_give_chance_exactly(nats_a_byte: float, n_bytes: list[int]) -> None:
    p = choice_probabilities(nats_a_byte * np.array(n_bytes), np.array(n_bytes))
    np.testing.assert_allclose(p, 1 / len(n_bytes), rtol=1e-9)


def test_the_error_of_a_scaled_mcc_is_that_of_resampled_documents() -> None:
    from sklearn.metrics import matthews_corrcoef

    generator = np.random.default_rng(0)
    right = generator.integers(2, size=200)
    given_ = np.where(generator.random(200) < 0.7, right, 1 - right)
    picks = generator.integers(200, size=(400, 200))
    expected = np.std([(matthews_corrcoef(right[pick], given_[pick]) + 1) / 2 for pick in picks])
    assert mcc_se(list(zip(right, given_, strict=True))) == pytest.approx(expected, rel=0.15)
    assert mcc_se([(1, 1), (0, 1)] * 20) == 0  # one answer for all: no correlation, whatever is drawn


def test_the_error_of_a_mean() -> None:
    assert mean_se([1.0]) == 0
    assert mean_se([0.0, 1.0] * 50) == pytest.approx(0.05025, rel=1e-3)


@given(st.integers(1, 500), st.sampled_from([0.0, 1.0]))
def test_documents_that_score_alike_are_no_certainty(n: int, value: float) -> None:
    p = 1 / (n + 2)
    assert share_se([value] * n) == pytest.approx(np.sqrt(p * (1 - p) / n)) and share_se([value] * n) > 0


def test_the_error_of_a_share_is_that_of_a_mean_where_documents_differ() -> None:
    assert share_se([0.0, 1.0, 1.0]) == mean_se([0.0, 1.0, 1.0]) and share_se([0.5] * 9) == 0


def score(value: float, n: int, prob: float | None) -> TaskScore:
    return TaskScore(
        metric="acc",
        value=value,
        se=0.1,
        chance=0.5,
        majority=0.6,
        n_documents=n,
        prob=prob,
        prob_se=None if prob is None else 0.02,
    )


def test_groups_by_members_and_by_size() -> None:
    members = {"a": score(0.2, 10, 0.4), "b": score(0.6, 30, 0.8)}
    even, sized = group_score(members, by_size=False), group_score(members, by_size=True)
    assert (even.value, sized.value) == (pytest.approx(0.4), pytest.approx(0.5))
    assert (even.prob, sized.prob) == (pytest.approx(0.6), pytest.approx(0.7))
    assert even.se == pytest.approx(0.1 / np.sqrt(2))
    assert sized.se == pytest.approx(0.1 * np.hypot(0.25, 0.75))
    assert even.prob_se == pytest.approx(0.02 / np.sqrt(2))
    assert group_score({"a": score(0.2, 10, 0.4), "b": score(0.6, 30, None)}, by_size=False).prob is None
