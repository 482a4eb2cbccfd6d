"""The audit's own laws: which rows it takes, what it shows of them, and what it lets pass."""

import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from genesys.errors import JobFailed
from genesys.evaluate.questions import Question, plan
from genesys.verification import audit
from genesys.verification.states import CagedModel, Inquiry, Reading


def inquiry(rng: np.random.Generator, n_rows: int, length: int, first: int = 0) -> Inquiry:
    """Rows whose every token is unique, so that each tells where it comes from."""
    rows = np.arange(first, first + n_rows * length).reshape(n_rows, length)
    asked = [np.ones(length, dtype=bool)] * n_rows
    return Inquiry(questions=[Question(row, row + 1) for row in rows], picks=audit.draw_picks(rng, asked))


@given(seed=st.integers(0, 2**32 - 1), n_rows=st.integers(1, 80), length=st.integers(1, 12), n_noise=st.integers(0, 1))
def test_an_audited_row_shows_its_past_alone(seed: int, n_rows: int, length: int, n_noise: int) -> None:
    rng = np.random.default_rng(seed)
    made, noise = inquiry(rng, n_rows, length, first=10**6), n_noise * 10**6  # noise is told by its size
    assert len(made.picks) in (n_rows // 2, (n_rows + 1) // 2) or n_rows == 1
    shown, targets = list[int](), set[int]()
    for q, pick in made.picks.items():
        question, cut = made.questions[q], audit._cut(made.questions[q], pick, rng, noise)
        n_past = len(cut.inputs_L) - len(cut.targets_T) + 1
        assert cut.inputs_L[:n_past].tolist() == question.inputs_L[: pick + 1].tolist()
        assert (cut.inputs_L[n_past:] < 10**6).all(), "the future is replaced"
        assert len(cut.inputs_L) == (length if noise else pick + 1) and not cut.targets_T.any()
        shown += cut.inputs_L[:n_past].tolist()
        targets.add(int(question.targets_T[pick]))
    assert not targets & set(shown), "no audited row holds the target of another"
    assert len(set(shown)) == len(shown)


def test_no_more_rows_are_audited_than_is_said() -> None:
    assert len(inquiry(np.random.default_rng(1), 600, 8).picks) == audit.MAX_CUTS


@given(seed=st.integers(0, 2**32 - 1), n=st.integers(1, 20), length=st.integers(1, 20))
def test_only_asked_places_are_drawn(seed: int, n: int, length: int) -> None:
    rng = np.random.default_rng(seed)
    asked = rng.random((n, length)) < 0.3
    asked[np.arange(n), rng.integers(length, size=n)] = True
    assert all(asked[q, pick] for q, pick in audit.draw_picks(rng, list(asked)).items())


def test_every_place_is_drawn_equally_often() -> None:
    rng, asked = np.random.default_rng(0), [np.ones(8, dtype=bool)] * 400
    picks = [pick for _ in range(100) for pick in audit.draw_picks(rng, asked).values()]
    assert np.bincount(picks, minlength=8) == pytest.approx(2500, rel=0.1)


def test_places_cannot_be_foreseen() -> None:
    asked = [np.ones(64, dtype=bool)] * 64
    one, two = (audit.draw_picks(audit.secret_generator(), asked) for _ in range(2))
    assert one != two


@settings(max_examples=50)
@given(
    seed=st.integers(0, 2**32 - 1),
    change=st.sampled_from([0.0, 1e-5, 1e-2, 1.0, math.nan, math.inf, -math.inf]),
    place=st.integers(0, 9),
)
def test_one_answer_that_differs_is_enough(seed: int, change: float, place: int) -> None:
    rng = np.random.default_rng(seed)
    full = rng.standard_normal((10, 7)).astype(np.float32)
    targets, cut = rng.integers(7, size=10), full.copy()
    cut[place, targets[place]] += change
    if abs(change) < 1e-4:
        assert audit._compare(full, cut, targets).n_places == 10
        return
    with pytest.raises(JobFailed, match="at 1 of 10 audited places") as caught:
        audit._compare(full, cut, targets)
    assert caught.value.cause == "integrity"


async def test_no_cut_row_is_read_off_another(monkeypatch: pytest.MonkeyPatch) -> None:
    """A cut row may begin another cut row, which goes on with what the first one is asked for."""
    rng, asked = np.random.default_rng(0), list[Inquiry]()
    rows = [np.array([7, 8, 9, 1]), np.array([7, 8, 9, 2])]
    made = Inquiry(questions=[Question(row, row) for row in rows], picks={0: 1, 1: 3})
    logits = np.zeros(10, dtype=np.float32)

    async def ask(jobs: object, stage: str, model: object, inquiries: list[Inquiry]) -> list[Reading]:
        asked.extend(inquiries)
        return [Reading(answers=[], behind=[], picked=dict.fromkeys(inquiries[0].picks, logits))]

    monkeypatch.setattr(audit, "ask", ask)
    seen = Reading(answers=[], behind=[], picked={0: logits, 1: logits})
    model = CagedModel(tree={}, shape={"vocab_size": 10, "d_model": 1}, seed=0, embedding_std=1.0, weights=Path(),
                       weights_sha256="", design_id="")  # fmt: skip
    result = await audit.audit(None, "", model, [made], [seen], rng)  # type: ignore[arg-type]
    assert result.n_places == 2 and [inquiry.share for inquiry in asked] == [False]
    batches = plan(asked[0].questions, share=False)
    assert sum(len(batch.inputs_BL) for batch in batches) == 2
    together = [Question(np.array([7, 8]), np.array([9])), Question(np.array([7, 8, 9]), np.array([1]))]
    assert sum(len(batch.inputs_BL) for batch in plan(together)) == 1
    assert sum(len(batch.inputs_BL) for batch in plan(together, share=False)) == 2
