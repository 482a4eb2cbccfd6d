"""Two reports compared: what counts as the same, and under which circumstances."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from genesys.verification import VerificationReport
from genesys.verification.reproduction import ComparedFigure, Reproduction, compare_reports
from tests.verification.reports import make_report


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> VerificationReport:
    return make_report(tmp_path_factory.mktemp("report"))


def with_metric(report: VerificationReport, name: str, value: float) -> VerificationReport:
    return replace(report, metrics={**report.metrics, name: value})


def elsewhere(report: VerificationReport) -> VerificationReport:
    return replace(report, software={"torch": "2.14.0"})


def figure(compared: Reproduction, name: str) -> ComparedFigure:
    return next(f for f in compared.figures if f.name.startswith(name))


def test_a_report_reproduces_itself_bit_for_bit(report: VerificationReport) -> None:
    compared = compare_reports(report, report)
    assert compared.holds and compared.exact and compared.same_weights and not compared.changes
    assert {f.verdict for f in compared.figures} == {"equal"}
    assert {f.name for f in compared.figures} == (set(report.metrics) - {"tokens_per_s"}) | {
        "train_loss_nats at 512 tokens"
    }
    assert json.loads(json.dumps(compared.to_json()))["holds"] is True


@given(data=st.data())
def test_where_nothing_changed_any_other_bit_is_a_difference(report: VerificationReport, data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(sorted(set(report.metrics) - {"tokens_per_s"})))
    value = data.draw(st.floats(allow_nan=False, allow_infinity=False).filter(lambda v: v != report.metrics[name]))
    compared = compare_reports(report, with_metric(report, name, value))
    assert not compared.holds and figure(compared, name).verdict == "differs"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"software": {"torch": "2.14.0"}}, "torch 2.13.0 -> 2.14.0"),
        ({"hardware": {"machine": "arm64", "cpus": 2}}, "machine x86_64 -> arm64"),
        ({"data_hash": "e" * 64}, "data dddddddddddddddd -> eeeeeeeeeeeeeeee"),
        ({"recipe_hash": "e" * 64}, "recipe "),
        ({"details": {"train": {"compiled": "yes"}}}, "compiled no -> yes"),
    ],
)
def test_what_changed_is_said_and_figures_get_their_tolerance(
    report: VerificationReport, change: dict[str, Any], said: str
) -> None:
    compared = compare_reports(report, replace(report, **change))
    assert not compared.exact and len(compared.changes) == 1 and said in compared.changes[0]


def test_idle_processors_are_no_change(report: VerificationReport) -> None:
    assert compare_reports(report, replace(report, hardware={"machine": "x86_64", "cpus": 64})).exact


@pytest.mark.parametrize("trained", [{"n_processes": 2}, {"dtype": "bf16"}, {"gpu_seconds": 4.0}])
def test_bits_are_not_expected_where_they_do_not_repeat(report: VerificationReport, trained: dict[str, Any]) -> None:
    there = replace(report, details={**report.details, "train": {**report.details["train"], **trained}})
    assert not compare_reports(there, there).exact and compare_reports(there, there).holds


@pytest.mark.parametrize(
    ("name", "difference", "verdict"),
    [
        ("val_loss_nats", 0.9e-4, "within"),
        ("val_loss_nats", 1.1e-4, "differs"),
        ("test_bpb", 1.4e-4, "within"),
        ("test_bpb", 1.5e-4, "differs"),
        ("task_blimp", 0.009, "within"),
        ("task_blimp", 0.011, "differs"),
        ("task_blimp_prob", 0.006, "differs"),
        ("task_blimp_se", 0.0009, "within"),
        ("task_blimp_chance", 0.001, "differs"),
        ("unigram_bpb", 1e-10, "within"),
        ("n_params", 1.0, "differs"),
        ("test_bpb", float("nan"), "differs"),
    ],
)
def test_tolerances_elsewhere(report: VerificationReport, name: str, difference: float, verdict: str) -> None:
    new = with_metric(elsewhere(report), name, report.metrics[name] + difference)
    compared = compare_reports(report, new)
    assert figure(compared, name).verdict == verdict and compared.holds == (verdict == "within")


def test_a_figure_that_is_not_measured_again_differs(report: VerificationReport) -> None:
    fewer = replace(report, metrics={k: v for k, v in report.metrics.items() if not k.startswith("probe")})
    compared = compare_reports(report, fewer)
    assert not compared.holds and figure(compared, "probe_recall").new is None
    assert compare_reports(fewer, report).holds, "a figure more is no difference"
    assert json.loads(json.dumps(compared.to_json(), allow_nan=False))["holds"] is False


def test_the_curve_is_compared_where_it_is_furthest_apart(report: VerificationReport) -> None:
    def with_curve(curve: list[list[float]]) -> VerificationReport:
        return replace(report, details={**report.details, "train": {**report.details["train"], "curve": curve}})

    compared = compare_reports(report, with_curve([[512, 5.5], [1024, 3.2], [2048, 2.6]]))
    worst = figure(compared, "train_loss_nats")
    assert worst.name.endswith("at 1,024 tokens") and worst.difference == pytest.approx(0.2) and not compared.holds
    assert compare_reports(report, with_curve([])).holds is True


def test_other_weights_are_a_difference_only_where_bits_repeat(report: VerificationReport) -> None:
    other = replace(report, weights_sha256="e" * 64)
    assert not compare_reports(report, other).holds
    assert compare_reports(report, elsewhere(other)).holds


def test_folders_are_no_matter(report: VerificationReport) -> None:
    assert compare_reports(report, replace(report, weights=str(Path("elsewhere") / "w"))).holds
