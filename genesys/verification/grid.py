"""The trainings of one verification: one for each learning rate of the scale's grid, of which the best counts."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from genesys.errors import FailureCause, JobFailed
from genesys.ladder import Scale
from genesys.sandbox.filesystem import remove_tree
from genesys.verification.jobs import Jobs, Training

_TOO_FAST: frozenset[FailureCause] = frozenset({"non-finite", "spike", "diverged"})
"""Failures that a lower learning rate may cure."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainedGrid:
    """What came of the grid.

    Attributes:
        best: The training with the lowest claimed validation loss. A claim chooses among honest results only: whichever
            is taken is scored outside the cage.
        trainings: All that ended.
        tried: For each learning rate `peak_lr` and `val_loss_nats`, or the `failure`.
    """

    best: Training
    trainings: Sequence[Training]
    tried: Sequence[Mapping[str, Any]]

    def cost(self, *, total_seconds: float) -> dict[str, float]:
        """What the trainings took together; `peak_memory_mb` is the largest."""
        found = {key: sum(self._claims(key)) for key in ("n_tokens", "flops", "seconds", "gpu_seconds")}
        found["peak_memory_mb"] = max(self._claims("peak_memory_mb"))
        for key, value in found.items():
            if not (math.isfinite(value) and value >= 0):
                raise JobFailed("integrity", f"Cannot accept the training's {key} {value}: expected 0 or more.")
        return found | {"total_seconds": total_seconds}

    def _claims(self, key: str) -> list[float]:
        return [float(training.answer.get(key, 0.0)) for training in self.trainings]

    def drop_others(self) -> None:
        """Remove the files of the trainings that are not the best."""
        for training in self.trainings:
            if training is not self.best:
                remove_tree(training.weights.parent)


async def train_grid(jobs: Jobs) -> TrainedGrid:
    """Train at every learning rate of the scale's grid.

    Raises:
        JobFailed: Every training failed, or one for another reason than too high a learning rate.
    """
    scale = Scale(**jobs.request.scale)
    trainings: list[Training] = []
    tried: list[dict[str, Any]] = []
    for index, factor in enumerate(scale.lr_grid):
        peak_lr = scale.peak_lr * factor
        try:
            training = await jobs.train(replace(scale, peak_lr=peak_lr, lr_grid=(1.0,)), index)
        except JobFailed as failure:
            if failure.cause not in _TOO_FAST or (not trainings and index == len(scale.lr_grid) - 1):
                raise
            tried.append({"peak_lr": peak_lr, "failure": str(failure)})
            continue
        trainings.append(training)
        loss = _claimed_loss(training)
        said = {"val_loss_nats": loss} if math.isfinite(loss) else {"failure": "its validation loss is no number"}
        tried.append({"peak_lr": peak_lr, **said})
    return TrainedGrid(best=min(trainings, key=_claimed_loss), trainings=trainings, tried=tried)


def _claimed_loss(training: Training) -> float:
    loss = training.answer.get("val_loss_nats")
    return float(loss) if isinstance(loss, (int, float)) and math.isfinite(loss) else math.inf
