"""The audit's own laws: which rows it takes, what it shows of them, and what it lets pass."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from genesys.errors import JobFailed
from genesys.verification import audit
from genesys.verification.logits import Pass


def passes(seed: int, n_rows: list[int], length: int) -> list[Pass]:
    """Rows whose every token is unique, so that each tells where it comes from."""
    rng, first, made = np.random.default_rng(seed), 0, []
    for n in n_rows:
        rows = np.arange(first, first + n * length).reshape(n, length)
        places = audit.draw_places(rng, np.ones((n, length), dtype=bool))
        made.append(Pass(rows_NL=rows, targets_NL=rows + 1, picks_N=places))
        first += n * length
    return made


@given(
    seed=st.integers(0, 2**32 - 1),
    n_rows=st.lists(st.integers(1, 40), min_size=1, max_size=3),
    length=st.integers(1, 12),
)
def test_an_audited_row_shows_its_past_alone(seed: int, n_rows: list[int], length: int) -> None:
    made, n_tokens = passes(seed, n_rows, length), sum(n_rows) * length
    noise = 10**6  # told apart from every real token by its size
    cuts = audit._draw_cuts(made, np.random.default_rng(seed), noise)
    assert len(cuts) in (sum(n_rows) // 2, (sum(n_rows) + 1) // 2) or sum(n_rows) == 1
    for cut in cuts:
        real = made[cut.owner].rows_NL[cut.row]
        assert cut.tokens_L[: cut.place + 1].tolist() == real[: cut.place + 1].tolist()
        assert cut.place == made[cut.owner].picks_N[cut.row]
        assert len(cut.tokens_L) in (cut.place + 1, length)
    shown = np.concatenate([cut.tokens_L[: cut.place + 1] for cut in cuts])
    targets = {int(made[cut.owner].targets_NL[cut.row, cut.place]) for cut in cuts}
    assert not targets & set(shown.tolist()), "no audited row holds the target of another"
    assert len(set(shown.tolist())) == len(shown) and int(shown.max()) < n_tokens


def test_noise_takes_the_place_of_the_future() -> None:
    made = passes(0, [600], 8)
    cuts = audit._draw_cuts(made, np.random.default_rng(1), 10**6)
    assert len(cuts) == audit.MAX_CUTS
    bare = [cut for cut in cuts if len(cut.tokens_L) == cut.place + 1]
    noisy = [cut for cut in cuts if len(cut.tokens_L) > cut.place + 1]
    assert len(bare) >= audit._N_BARE and len(noisy) > audit.MAX_CUTS / 2
    kept = sum(int((cut.tokens_L == made[0].rows_NL[cut.row])[cut.place + 1 :].sum()) for cut in noisy)
    assert kept <= 2, "the future is replaced"


@given(seed=st.integers(0, 2**32 - 1), n=st.integers(1, 20), length=st.integers(1, 20))
def test_only_asked_places_are_drawn(seed: int, n: int, length: int) -> None:
    rng = np.random.default_rng(seed)
    asked = rng.random((n, length)) < 0.3
    asked[np.arange(n), rng.integers(length, size=n)] = True
    places = audit.draw_places(rng, asked)
    assert asked[np.arange(n), places].all()


def test_every_place_is_drawn_equally_often() -> None:
    places = audit.draw_places(np.random.default_rng(0), np.ones((20_000, 8), dtype=bool))
    assert np.bincount(places, minlength=8) == pytest.approx(2500, rel=0.1)


def test_places_cannot_be_foreseen() -> None:
    asked = np.ones((64, 64), dtype=bool)
    one, two = (audit.draw_places(audit.secret_generator(), asked) for _ in range(2))
    assert not np.array_equal(one, two)


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
