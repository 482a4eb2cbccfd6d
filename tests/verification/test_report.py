"""Reports as files: law 1 and finite numbers at the door, nothing half-written, earlier schemas read."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from genesys.errors import ConfigError, JobFailed
from genesys.verification import VerificationReport
from genesys.verification.report import (
    loss_curve,
    read_report,
    report_from_json,
    report_to_json,
    write_report,
)
from tests.verification.conftest import Honest
from tests.verification.reports import make_report, make_weights

METRICS = ("test_bpb", "n_params", "tokens_per_s", "unigram_bpb", "untrained_val_loss_nats", "val_loss_nats")


def changed(report: VerificationReport, part: str, **values: Any) -> VerificationReport:
    return replace(report, details={**report.details, part: {**report.details[part], **values}})


def test_what_is_written_is_read_again_also_where_the_folder_moved(tmp_path: Path) -> None:
    report = make_report(tmp_path / "a")
    path = write_report(report, tmp_path / "a")
    assert path.name == "report.json" and read_report(path, check_weights=True) == report
    assert sorted(p.name for p in path.parent.iterdir()) == ["report.json", "training"]
    kept = json.loads(path.read_text())
    assert kept["schema"] == 2 and kept["weights"] == "training/weights.safetensors"
    moved = Path(shutil.move(tmp_path / "a", tmp_path / "b"))
    again = read_report(moved, check_weights=True)
    assert again == replace(report, weights=str(moved / "training" / "weights.safetensors"))


@pytest.mark.asyncio(loop_scope="session")
async def test_a_real_report_is_written_and_holds(honest: Honest, tmp_path: Path) -> None:
    assert read_report(write_report(honest.report, tmp_path), check_weights=True) == honest.report


@pytest.mark.parametrize(
    ("lie", "message"),
    [
        (
            lambda r: replace(r, metrics={**r.metrics, "test_bpb": 1.0}),
            "its test_bpb is 1.0; expected 3.0, as measured",
        ),
        (lambda r: replace(r, metrics={**r.metrics, "task_blimp": 0.9}), "task_blimp is 0.9; expected 0.61"),
        (lambda r: replace(r, metrics={**r.metrics, "probe_recall": 1.0}), "probe_recall is 1.0; expected 0.99"),
        (lambda r: replace(r, metrics={**r.metrics, "task_more": 1.0}), "task_more is 1.0; expected None"),
        (
            lambda r: replace(r, metrics={k: v for k, v in r.metrics.items() if k != "task_blimp"}),
            "task_blimp is None; expected 0.61",
        ),
        (lambda r: replace(r, metrics={**r.metrics, "task_blimp": float("nan")}), "metrics.task_blimp is nan"),
        (lambda r: replace(r, design_id="e" * 64), "its design_id is eeee"),
        (lambda r: replace(r, weights_sha256="e" * 64), "its weights_sha256 is eeee"),
        (lambda r: changed(r, "evaluate", weights_sha256="e" * 64), "integrity-weights"),
        (lambda r: changed(r, "evaluate", design_id="e" * 64), "integrity-design"),
        (lambda r: changed(r, "train", val_loss_nats=1.9), "integrity-loss"),
        (lambda r: changed(r, "evaluate", untrained_val_loss_nats=1.9), "integrity-untrained"),
        (lambda r: changed(r, "train", curve=[[512, float("inf")]]), r"details.train.curve\[0\]\[1\] is inf"),
        (lambda r: replace(r, details={}), "integrity"),
        (lambda r: replace(r, weights=r.weights + "x"), "No such file"),
    ],
)
def test_a_report_that_does_not_hold_is_not_written(lie: Any, message: str, tmp_path: Path) -> None:
    with pytest.raises(JobFailed, match=message) as caught:
        write_report(lie(make_report(tmp_path)), tmp_path)
    assert caught.value.cause == "integrity" and not (tmp_path / "report.json").exists()


@pytest.mark.parametrize(
    ("weights", "message"),
    [({"value": 0.0}, "the SHA-256 of 'weights.safetensors'"), ({"design_id": "e" * 64}, "SHA-256")],
)
def test_weights_that_changed_are_found_when_written_and_when_read(
    weights: dict[str, Any], message: str, tmp_path: Path
) -> None:
    report = make_report(tmp_path)
    path = write_report(report, tmp_path)
    make_weights(Path(report.weights), **weights)
    assert read_report(path) == report, "only on demand"
    for door in (lambda: write_report(report, tmp_path), lambda: read_report(path, check_weights=True)):
        with pytest.raises(JobFailed, match=message):
            door()


def test_weights_of_another_design_are_refused_though_the_hash_fits(tmp_path: Path) -> None:
    report = make_report(tmp_path)
    sha256 = make_weights(Path(report.weights), design_id="e" * 64)
    forged = replace(report, weights_sha256=sha256)
    forged = changed(changed(forged, "train", weights_sha256=sha256), "evaluate", weights_sha256=sha256)
    with pytest.raises(JobFailed, match="holds weights of design 'eeee"):
        write_report(forged, tmp_path)


def test_a_disk_that_takes_no_report_is_the_hosts_fault_and_keeps_the_old_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    report = make_report(tmp_path)
    before = write_report(report, tmp_path).read_bytes()

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(JobFailed, match="No space left on device") as caught:
        write_report(replace(report, seconds=16.0), tmp_path)
    assert caught.value.cause == "infrastructure" and (tmp_path / "report.json").read_bytes() == before
    assert sorted(p.name for p in tmp_path.iterdir()) == ["report.json", "training"]


def test_reports_of_schema_1_are_read(tmp_path: Path) -> None:
    data = make_report(tmp_path).to_json()
    for later in ("cost", "cage"):
        del data[later]
    (tmp_path / "report.json").write_text(json.dumps(data))
    assert read_report(tmp_path).cost == {} and read_report(tmp_path).metrics["test_bpb"] == 3.0


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "Expecting value"),
        ("[]", "it is list; expected an object"),
        ('{"schema": 3}', "schema 3"),
        ("{}", "it has no 'design_id'"),
        ("[" * 100_000, "maximum recursion depth"),
        ({"n_tokens": "many"}, "its 'n_tokens' is 'many'; expected int"),
        ({"metrics": dict.fromkeys(METRICS, "low")}, "metric 'test_bpb' is 'low'"),
        ({"metrics": [1.0]}, "its 'metrics' is"),
        ({"metrics": {"test_bpb": 1.0}}, "it has no metric 'n_params'"),
        ({"seconds": float("nan")}, "seconds is nan; expected finite"),
        ({"secs": 1.0}, "Did you mean"),
    ],
)
def test_what_is_no_report_is_refused_in_a_sentence(text: Any, message: str, tmp_path: Path) -> None:
    if isinstance(text, dict):
        text = json.dumps(report_to_json(make_report(tmp_path)) | text)
    (tmp_path / "r.json").write_text(text)
    with pytest.raises(ConfigError, match=f"(?s)Cannot read report .*{message}"):
        read_report(tmp_path / "r.json")


def test_a_missing_report_is_named(tmp_path: Path) -> None:
    with pytest.raises(
        ConfigError, match=r"none\.json': No such file or directory; expected what `genesys verify --out`"
    ):
        read_report(tmp_path / "none.json")


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@given(field=st.sampled_from(sorted(VerificationReport.__dataclass_fields__)), value=_JSON)
def test_any_value_of_any_field_is_read_or_refused(
    field: str, value: Any, tmp_path_factory: pytest.TempPathFactory
) -> None:
    data = report_to_json(make_report(tmp_path_factory.mktemp("r"))) | {field: value}
    try:
        assert report_to_json(report_from_json(data)) == data
    except ConfigError as error:
        assert str(error).startswith("Cannot read a")
    loss_curve({"train": {"curve": value}})


def test_a_claimed_curve_that_is_none_is_not_shown() -> None:
    for claim in ([[1, 2.0], [1, 3.0]], [[1, float("nan")]], [["a", 1]], [[1]], 5, "ab"):
        assert loss_curve({"train": {"curve": claim}}) == ()
    assert loss_curve({}) == () and loss_curve({"train": {"curve": [[1, 2], [3, 1.5]]}}) == ((1, 2.0), (3, 1.5))
