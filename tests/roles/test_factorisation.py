"""The generators with a simulated coder, against closed forms; the benchmark has more cases and more sessions."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks._report import Report
from benchmarks.factorisation import beam, best_of_samples, cases, compare, expected_rounds, p_written, unit_wise
from genesys.roles.brief import SessionLimits

SMALL = [case for case in cases() if case.n_units < 6]


def limits(width: int, samples: int, attempts: int, failed: int = 1) -> SessionLimits:
    return SessionLimits(beam=width, samples=samples, max_attempts=attempts, max_failed_units=failed)


def test_sessions_do_what_the_closed_forms_say() -> None:
    report = Report("factorisation")
    compare(report, SMALL, 60, seed=1)
    assert not report.missed


def test_a_wrong_closed_form_is_found() -> None:
    case = next(case for case in SMALL if "ends at 4" in case.name)
    p_done, p_right, n_codings = case.expected
    report = Report("factorisation")
    compare(report, [replace(case, expected=(p_done * 0.7, p_right, n_codings * 1.2))], 150)
    assert len(report.missed) == 2


def test_the_best_of_samples_has_the_rating_of_the_best_of_that_many_draws() -> None:
    report = Report("factorisation")
    best_of_samples(report, 25)
    assert not report.missed


@given(st.floats(0.05, 1.0), st.integers(1, 6))
def test_without_limits_direct_answers_grow_exponentially_and_codings_linearly(p: float, n: int) -> None:
    assert expected_rounds(p**n, 1, 10**12) == pytest.approx(p**-n)
    done, codings = unit_wise(p, limits(1, 1, 10**6), n)
    assert done == pytest.approx(1.0)
    assert codings == pytest.approx(n / p)


@given(st.floats(0.05, 0.95), st.integers(1, 5), st.integers(1, 3), st.integers(1, 3))
def test_a_beam_of_one_is_greedy_and_width_and_roll_back_only_help(
    p: float, n: int, samples: int, attempts: int
) -> None:
    greedy = unit_wise(p, limits(1, samples, attempts), n)
    assert beam(p, limits(1, samples, attempts), n) == pytest.approx(greedy)
    assert greedy[0] == pytest.approx(p_written(p, samples * attempts) ** n)
    wider = [beam(p, limits(width, samples, attempts), n)[0] for width in (1, 2, 3)]
    rolled = [unit_wise(p, limits(1, samples, attempts, failed), n)[0] for failed in (1, 2, 3)]
    assert wider == pytest.approx(sorted(wider)) and rolled == pytest.approx(sorted(rolled))
