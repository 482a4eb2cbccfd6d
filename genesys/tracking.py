"""Reports in experiment trackers, through the trackers' own clients: never needed, each an optional extra.

Nothing leaves this machine unless its owner says so: TensorBoard writes files, W&B writes files (`wandb sync` sends
them), MLflow a database file unless MLFLOW_TRACKING_URI names a server.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from genesys.errors import ConfigError
from genesys.verification.report import loss_curve

_PROJECT = "genesys"
_LOSS = "train/loss_nats"
_MLFLOW_BATCH = 1000  # its server takes no more in one call


@dataclass(frozen=True, slots=True, kw_only=True)
class TrackedReport:
    """What trackers are given of one verification.

    Attributes:
        run: Of Genesys.
        curve: (tokens seen, training loss in nats per token).
        settings: Flat strings and numbers: design, seed, sizes, the scale's fields, hashes.
    """

    run: str
    name: str
    curve: Sequence[tuple[int, float]]
    metrics: Mapping[str, float]
    settings: Mapping[str, str | int | float]


def tracked_report(report: Mapping[str, Any], *, run: str, design: str) -> TrackedReport:
    """Choose from a report, of any schema, what trackers show."""
    config = report["config"]
    numbers = {**config.get("scale", {}), **config.get("shape", {})}
    settings = {key: value for key, value in numbers.items() if isinstance(value, (str, int, float))}
    kept = ("design_id", "scale", "seed", "recipe_hash", "data_hash", "weights_sha256", "n_tokens")
    cost = report.get("cost") or {"seconds": report["seconds"]}
    return TrackedReport(
        run=run,
        name=f"{design}/{report['scale']}-seed{report['seed']}",
        curve=loss_curve(report["details"]),
        metrics={**report["metrics"], **{f"cost_{key}": value for key, value in cost.items()}},
        settings={"design": design, **settings, **{key: report[key] for key in kept}},
    )


def track(reports: Sequence[TrackedReport], tracker: str, folder: Path | None = None) -> tuple[str, str]:
    """Write reports to one of `TRACKERS`; gives where they went, and the command that shows or sends them.

    Args:
        folder: For the tracker's files; `tensorboard/`, `wandb/` or `mlflow.db` of the current folder by default.

    Raises:
        ConfigError: The tracker's client is not installed.
    """
    try:
        return _WRITERS[tracker](reports, folder)
    except ImportError as error:
        raise ConfigError(
            f"Cannot export to {tracker!r}: its client is not installed ({error}). "
            f"Install it: pip install 'genesys-evolution[{tracker}]'"
        ) from error


def _to_tensorboard(reports: Sequence[TrackedReport], folder: Path | None) -> tuple[str, str]:
    """One event file for each verification; it takes the place of an earlier export's."""
    from torch.utils.tensorboard import SummaryWriter

    root = folder or Path("tensorboard")
    for report in reports:
        place = root / report.run / report.name
        for earlier in place.glob("events.out.tfevents.*"):
            earlier.unlink()
        with SummaryWriter(str(place)) as writer:
            for n_tokens, loss in report.curve:
                writer.add_scalar(_LOSS, loss, n_tokens)
            for name, value in report.metrics.items():
                writer.add_scalar(f"report/{name}", value, int(report.settings["n_tokens"]))
            writer.add_text("settings", "\n".join(f"- {key}: {value}" for key, value in report.settings.items()))
    return str(root), f"tensorboard --logdir {root}"


def _to_wandb(reports: Sequence[TrackedReport], folder: Path | None) -> tuple[str, str]:
    """One run for each verification, in W&B's offline format unless WANDB_MODE says otherwise."""
    from wandb import Settings, init, teardown

    mode = os.environ.get("WANDB_MODE", "offline")
    root = folder or Path()
    root.mkdir(parents=True, exist_ok=True)
    for report in reports:
        with init(
            project=_PROJECT, group=report.run, name=report.name, config=dict(report.settings), mode=mode, dir=str(root),
            settings=Settings(silent=True, console="off", disable_git=True),
        ) as run:  # fmt: skip
            run.define_metric(_LOSS, step_metric="n_tokens")
            for n_tokens, loss in report.curve:
                run.log({"n_tokens": n_tokens, _LOSS: loss})
            run.summary.update(report.metrics)
    teardown()  # its process may still be writing until then
    send = f"wandb sync {root / 'wandb' / 'offline-run-*'}"
    return str(root / "wandb"), send if mode == "offline" else f"look at project {_PROJECT!r} there"


def _to_mlflow(reports: Sequence[TrackedReport], folder: Path | None) -> tuple[str, str]:
    """One MLflow run for each verification, in the experiment of the Genesys run."""
    from mlflow.entities import Metric, Param
    from mlflow.tracking import MlflowClient

    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
    local = f"sqlite:///{((folder or Path()) / 'mlflow.db').absolute()}"
    uri = local if folder else os.environ.get("MLFLOW_TRACKING_URI", local)
    client = MlflowClient(tracking_uri=uri)
    for report in reports:
        name = f"{_PROJECT}/{report.run}"
        found = client.get_experiment_by_name(name)
        run_id = client.create_run(
            found.experiment_id if found else client.create_experiment(name), run_name=report.name
        ).info.run_id
        now = client.get_run(run_id).info.start_time
        points = [Metric(_LOSS, loss, now, n_tokens) for n_tokens, loss in report.curve]
        points += [Metric(key, value, now, int(report.settings["n_tokens"])) for key, value in report.metrics.items()]
        params = [Param(key, str(value)) for key, value in report.settings.items()]
        client.log_batch(run_id, params=params)
        for first in range(0, len(points), _MLFLOW_BATCH):
            client.log_batch(run_id, metrics=points[first : first + _MLFLOW_BATCH])
        client.set_terminated(run_id)
    return uri, f"mlflow ui --backend-store-uri {uri}"


_WRITERS: Mapping[str, Callable[[Sequence[TrackedReport], Path | None], tuple[str, str]]] = {
    "tensorboard": _to_tensorboard,
    "wandb": _to_wandb,
    "mlflow": _to_mlflow,
}
TRACKERS = tuple(_WRITERS)
