"""Pre-training of one model: a small loop over a DeepSpeed engine.

Given a request, the losses of every step are a function of (design, shape, recipe, seed, data): bit-equal on one CPU
thread in float32, also when the process was killed and resumed from a checkpoint.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from genesys.ladder import Scale
from genesys.train.checkpoint import latest_checkpoint, save_checkpoint
from genesys.train.engine import Engine
from genesys.train.guard import require_finite
from genesys.train.data.packing import DataOrder, PackedRows, spread_rows
from genesys.train.schedule import CosineSchedule
from genesys.train.data.shards import Shards

N_VALIDATION_ROWS = 64
_PROGRESS_EVERY_S = 1.0
_N_CURVE_POINTS = 50
_N_SMOOTHED = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingPlan:
    """What decides the trajectory of a training, and where it leaves its files.

    Attributes:
        fingerprint: Of everything that decides the trajectory; only its own checkpoints are resumed.
        checkpoint_every_s: Seconds between checkpoints; 0 after every step, None never.
    """

    scale: Scale
    seed: int
    shards: Shards
    out: Path
    fingerprint: str
    checkpoint_every_s: float | None = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingResult:
    """How a training went; losses in nats per token, `curve` of (tokens seen, loss)."""

    n_steps: int
    n_tokens: int
    n_epochs: float
    n_resumed_steps: int
    seconds: float
    tokens_per_s: float
    train_loss_nats: float
    curve: tuple[tuple[int, float], ...]


@dataclass(slots=True)
class _Progress:
    """The losses so far, and the record of them that the parent reads."""

    path: Path
    batch_tokens: int
    losses: list[float] = field(default_factory=list)
    written: float = 0.0

    def add(self, loss: float, tokens_per_s: float) -> None:
        self.losses.append(loss)
        now = time.monotonic()
        if now - self.written >= _PROGRESS_EVERY_S:
            self.written = now
            self.write(tokens_per_s)

    def write(self, tokens_per_s: float) -> None:
        line = {"n_tokens": len(self.losses) * self.batch_tokens, "loss": self.losses[-1], "tokens_per_s": tokens_per_s}
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")

    def curve(self) -> tuple[tuple[int, float], ...]:
        n = len(self.losses)
        steps = np.unique(np.linspace(0, n - 1, min(n, _N_CURVE_POINTS)).round().astype(int))
        return tuple((int(step + 1) * self.batch_tokens, self.losses[step]) for step in steps)


def train_model(model: nn.Module, plan: TrainingPlan) -> TrainingResult:
    """Train `model` in place by the scale's recipe, resuming from the plan's own checkpoint where there is one.

    Raises:
        JobFailed: A loss or a gradient is not finite.
    """
    scale = plan.scale
    rows = PackedRows(plan.shards.tokens("train"), scale.context)
    batch_rows = scale.batch_tokens // scale.context
    order = DataOrder(n_rows=rows.n_rows, batch_rows=batch_rows, seed=plan.seed)
    schedule = CosineSchedule(peak_lr=scale.peak_lr, n_steps=scale.n_steps)
    engine = Engine(model, batch_rows=batch_rows)
    progress = _Progress(plan.out / "progress.jsonl", scale.batch_tokens)
    first = _resume(plan, engine, progress)
    device = next(model.parameters()).device  # where DeepSpeed has put the model
    model.train()
    watch = _Stopwatch(plan.checkpoint_every_s)
    for step in range(first, scale.n_steps):
        torch.manual_seed(_stream(plan.seed, step))  # random units stay on the trajectory across a kill
        batch = torch.from_numpy(rows.rows(order.batch(step))).to(device)
        loss = token_loss(engine(batch[:, :-1]), batch[:, 1:])
        value = loss.item()
        require_finite("loss", value, step)
        require_finite("gradient norm", engine.step(loss, lr=schedule.lr(step)).item(), step)
        progress.add(value, watch.rate(scale.batch_tokens))
        if watch.is_due() and step + 1 < scale.n_steps:
            _save(plan, engine, progress)
            watch.restart()
    if progress.losses:
        progress.write(watch.tokens_per_s)
    return TrainingResult(
        n_steps=scale.n_steps,
        n_tokens=scale.n_steps * scale.batch_tokens,
        n_epochs=order.n_epochs(scale.n_steps),
        n_resumed_steps=first,
        seconds=watch.seconds,
        tokens_per_s=watch.tokens_per_s,
        train_loss_nats=float(np.mean(progress.losses[-_N_SMOOTHED:])),
        curve=progress.curve(),
    )


def token_loss(logits_BLV: Tensor, targets_BL: Tensor) -> Tensor:
    """Mean cross-entropy, nats per token; a scalar."""
    return F.cross_entropy(logits_BLV.flatten(0, 1).float(), targets_BL.flatten())


@torch.no_grad()
def validation_loss(model: nn.Module, shards: Shards, context: int) -> float:
    """Mean loss over the fixed validation rows, nats per token; one row at a time, in evaluation mode."""
    rows = PackedRows(shards.tokens("val"), context)
    model.eval()
    losses = [token_loss(model(x), y).item() for x, y in _validation_batches(rows)]
    loss = float(np.mean(losses))
    require_finite("validation loss", loss, 0)
    return loss


def _validation_batches(rows: PackedRows) -> Iterator[tuple[Tensor, Tensor]]:
    for index in spread_rows(rows.n_rows, N_VALIDATION_ROWS):
        batch = torch.from_numpy(rows.rows(np.array([index])))
        yield batch[:, :-1], batch[:, 1:]


def _resume(plan: TrainingPlan, engine: Engine, progress: _Progress) -> int:
    found = latest_checkpoint(plan.out, plan.fingerprint)
    if found is None:
        return 0
    path, state = found
    engine.load(path)
    progress.losses.extend(state["losses"])
    return len(progress.losses)


def _save(plan: TrainingPlan, engine: Engine, progress: _Progress) -> None:
    state: dict[str, Any] = {"fingerprint": plan.fingerprint, "losses": progress.losses}
    save_checkpoint(plan.out, len(progress.losses), state, engine.save)


def _stream(seed: int, step: int) -> int:
    return int(np.random.SeedSequence((seed, step)).generate_state(1, np.uint64)[0])


class _Stopwatch:
    """Time and tokens of this process's part of the training."""

    def __init__(self, checkpoint_every_s: float | None) -> None:
        self._started = self._checkpointed = time.monotonic()
        self._every_s = checkpoint_every_s
        self._n_tokens = 0

    @property
    def seconds(self) -> float:
        return time.monotonic() - self._started

    @property
    def tokens_per_s(self) -> float:
        return self._n_tokens / max(self.seconds, 1e-9)

    def rate(self, n_tokens: int) -> float:
        self._n_tokens += n_tokens
        return self.tokens_per_s

    def is_due(self) -> bool:
        return self._every_s is not None and time.monotonic() - self._checkpointed >= self._every_s

    def restart(self) -> None:
        self._checkpointed = time.monotonic()
