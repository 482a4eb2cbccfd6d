"""`genesys export` to experiment trackers, each through its own client where that is installed."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from genesys.cli import app
from genesys.verification.report import report_to_json
from tests.single_run import write_run
from tests.verification.reports import DESIGN, make_report

CLIENTS = {"tensorboard": "tensorboard", "wandb": "wandb.sdk", "mlflow": "mlflow.tracking"}


def installed(tracker: str) -> bool:
    try:
        return find_spec(CLIENTS[tracker]) is not None
    except ImportError:
        return False


def needs(tracker: str) -> Any:
    return pytest.mark.skipif(not installed(tracker), reason=f"the extra {tracker!r} is not installed")


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name in ("MLFLOW_TRACKING_URI", "WANDB_MODE", "WANDB_DIR"):
        monkeypatch.delenv(name, raising=False)
    report = make_report(tmp_path / "w")
    second = report_to_json(report) | {"scale": "cpu-2"}
    return write_run(tmp_path / "runs" / "one-1", report_to_json(report), second)


def export(run: Path, *arguments: str) -> Result:
    return CliRunner().invoke(app, ["export", str(run), "gpt", *arguments])


@needs("tensorboard")
def test_tensorboard_reads_curve_and_figures_once_however_often_they_are_exported(run: Path, tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    for _ in range(2):
        assert export(run, "--to", "tensorboard").exit_code == 0
    for scale in ("cpu-1", "cpu-2"):
        events = EventAccumulator(str(tmp_path / "tensorboard" / "one-1" / "gpt" / f"{scale}-seed0")).Reload()
        curve = [(event.step, event.value) for event in events.Scalars("train/loss_nats")]
        assert curve == [(512, 5.5), (1024, 3.0), (2048, 2.5)]
        (bits,) = events.Scalars("report/test_bpb")
        assert (bits.step, bits.value) == (143_360, 3.0) and events.Scalars("report/cost_flops")


@needs("wandb")
def test_wandb_writes_offline_files_only(run: Path, tmp_path: Path) -> None:
    done = export(run, "--to", "wandb", "--scale", "cpu-1", "--out", "there")
    assert done.exit_code == 0 and "wandb sync" in done.output
    (record,) = (tmp_path / "there" / "wandb").glob("offline-run-*/run-*.wandb")
    content = record.read_bytes()
    assert all(word in content for word in (b"train/loss_nats", b"test_bpb", DESIGN.encode()))


@needs("mlflow")
def test_mlflow_holds_a_finished_run_for_each_verification(run: Path, tmp_path: Path) -> None:
    from mlflow.tracking import MlflowClient

    assert export(run, "--to", "mlflow").exit_code == 0
    client = MlflowClient(tracking_uri=f"sqlite:///{tmp_path / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("genesys/one-1")
    found = {found.info.run_name: found for found in client.search_runs([experiment.experiment_id])}
    assert set(found) == {"gpt/cpu-1-seed0", "gpt/cpu-2-seed0"}
    first = found["gpt/cpu-1-seed0"]
    assert first.info.status == "FINISHED" and first.data.metrics["test_bpb"] == 3.0
    assert first.data.params["design_id"] == DESIGN and first.data.params["d_model"] == "64"
    history = client.get_metric_history(first.info.run_id, "train/loss_nats")
    assert [(point.step, point.value) for point in history] == [(512, 5.5), (1024, 3.0), (2048, 2.5)]


@pytest.mark.parametrize("tracker", CLIENTS)
def test_a_client_that_is_not_there_is_named(run: Path, tracker: str, tmp_path: Path) -> None:
    if installed(tracker):
        pytest.skip(f"the extra {tracker!r} is installed")
    (tmp_path / tracker).mkdir()  # a folder of that name is no client
    failed = export(run, "--to", tracker)
    assert f"Cannot export to {tracker!r}: its client is not installed" in str(failed.exception)
    assert f"pip install 'genesys-evolution[{tracker}]'" in str(failed.exception)


def test_what_was_not_verified_is_not_exported(run: Path) -> None:
    assert "it was not verified at scale 'cpu-9'" in str(export(run, "--to", "wandb", "--scale", "cpu-9").exception)
    assert "Did you mean 'wandb'?" in str(export(run, "--to", "wanb").exception)


def test_a_python_file_needs_a_place(run: Path, tmp_path: Path) -> None:
    for place, why in (("none/gpt.py", "No such file or directory"), (".", "Is a directory")):
        failed = str(export(run, "--out", place).exception)
        assert f"Cannot export to {place!r}: {why}; expected a file in a folder that is there" in failed
    assert export(run, "--out", "gpt.py").exit_code == 0 and "def build(" in (tmp_path / "gpt.py").read_text()


@needs("tensorboard")
def test_a_trackers_folder_is_no_file(run: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert "Cannot export to 'file'" in str(export(run, "--to", "tensorboard", "--out", "file").exception)
