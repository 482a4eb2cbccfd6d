"""Pre-training of one model: a small loop over a DeepSpeed engine.

Given a request, the losses of every step are a function of (design, shape, recipe, seed, data): bit-equal on one CPU
thread in float32, also when the process was killed and resumed from a checkpoint.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from genesys.errors import JobFailed
from genesys.ladder import Scale
from genesys.model import GAM
from genesys.train.card import peak_flops, peak_memory_mb
from genesys.train.checkpoint import latest_checkpoint, save_checkpoint, save_weights
from genesys.train.data.packing import DataOrder, PackedRows, spread_rows
from genesys.train.data.shards import Shards
from genesys.train.engine import Engine
from genesys.train.execution import Execution, Means, choose_execution, choose_precision, rows_of_rank
from genesys.train.guard import N_SMOOTHED, Guard, require_finite
from genesys.train.loss import NextTokenLoss, token_loss
from genesys.train.progress import Cost, Progress, Readings, Stopwatch
from genesys.train.schedule import CosineSchedule
from genesys.train.world import Rank

N_VALIDATION_ROWS = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingPlan:
    """What decides the trajectory of a training, what it may ask of its host, and where it leaves its files.

    Attributes:
        fingerprint: Of everything that decides the trajectory; only its own checkpoints are resumed.
        checkpoint_every_s: Seconds between checkpoints; 0 after every step, None never.
        report_in: Folder of the progress record; `out` when None.
        reference_curve, limit_s: See `Guard`.
        rank: Which of the training's processes this is.
    """

    scale: Scale
    seed: int
    shards: Shards
    out: Path
    fingerprint: str
    design_id: str = ""
    report_in: Path | None = None
    checkpoint_every_s: float | None = 30.0
    means: Means = field(default_factory=Means)
    reference_curve: Sequence[tuple[float, float]] = ()
    limit_s: float = 0.0
    rank: Rank = field(default_factory=Rank)


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingResult:
    """How a training went; losses in nats per token, `curve` of (tokens seen, loss).

    Attributes:
        tokens_per_s: Of this process's steps, without compiling.
        flops_per_token: `Execution.model_flops_per_row` by token.
        mfu: Share of the cards' dense bf16 peak that went into `Execution.model_flops_per_row`; None where none is known.
        seconds, flops, gpu_seconds, peak_memory_mb: See `Cost`.
    """

    n_steps: int
    n_tokens: int
    n_epochs: float
    n_resumed_steps: int
    n_processes: int
    seconds: float
    tokens_per_s: float
    train_loss_nats: float
    curve: tuple[tuple[int, float], ...]
    dtype: str
    micro_batch_rows: int
    n_accumulation: int
    zero_stage: int
    compiled: str
    flops_per_token: float
    flops: float
    gpu_seconds: float
    mfu: float | None
    peak_memory_mb: float


def train_model(model: GAM, plan: TrainingPlan, cost: Cost | None = None) -> TrainingResult:
    """Train `model` in place by the scale's recipe, resuming from the plan's own checkpoint where there is one.

    Args:
        cost: Where to keep what it costs, whether it ends well or not.

    Raises:
        JobFailed: The guard stopped it, or it does not fit into memory.
    """
    scale, rank, cost = plan.scale, plan.rank, cost or Cost()
    device = rank.join()
    batches = _Batches(plan, device)
    loss = NextTokenLoss(model.to(device), choose_precision(plan.means.precision, device))
    model.train()
    execution = choose_execution(
        loss, batches.rows(0), rank, plan.means, batch_rows=batches.order.batch_rows, n_steps=scale.n_steps
    )
    micro = execution.micro_batch_rows
    engine = Engine(
        loss, rank, micro_batch_rows=micro, n_accumulation=execution.n_accumulation, zero=execution.zero_stage
    )
    run = _Run(plan, model, engine, device)
    first = run.resume()
    schedule = CosineSchedule(peak_lr=scale.peak_lr, n_steps=scale.n_steps)
    try:
        for step in range(first, scale.n_steps):
            torch.manual_seed(_stream(plan.seed, step, rank.index))  # random units stay on the trajectory across a kill
            rows = batches.rows(step).split(micro)
            run.add(*engine.step(rows, lr=schedule.lr(step)), is_last=step + 1 == scale.n_steps)
    except JobFailed:
        run.progress.write(run.watch.rate(scale.batch_tokens))  # what it cost up to here
        raise
    finally:
        run.count(cost, execution, device)
    return _result(run, execution, first, batches.order.n_epochs(scale.n_steps), device, cost)


class _Batches:
    """The rows of each step that this rank takes, on its device: its share of one order, equal for any number of ranks."""

    def __init__(self, plan: TrainingPlan, device: torch.device) -> None:
        scale, rank = plan.scale, plan.rank
        self._packed = PackedRows(plan.shards.tokens("train"), scale.context)
        batch_rows = scale.batch_tokens // scale.context
        self.order = DataOrder(n_rows=self._packed.n_rows, batch_rows=batch_rows, seed=plan.seed)
        n_rows = rows_of_rank(batch_rows, rank.count)
        self._mine, self._device = slice(rank.index * n_rows, (rank.index + 1) * n_rows), device

    def rows(self, step: int) -> Tensor:
        rows = torch.from_numpy(self._packed.rows(self.order.batch(step)[self._mine]))
        return rows if self._device.type == "cpu" else rows.pin_memory().to(self._device, non_blocking=True)


class _Run:
    """What is kept of a training while it goes on: its losses, its time, its checkpoints."""

    def __init__(self, plan: TrainingPlan, model: GAM, engine: Engine, device: torch.device) -> None:
        scale = plan.scale
        self.plan, self._model, self._engine = plan, model, engine
        path = (plan.report_in or plan.out) / "progress.jsonl" if plan.rank.index == 0 else None
        self.progress = Progress(path, scale.batch_tokens)
        self._guard = Guard(
            n_steps=scale.n_steps,
            batch_tokens=scale.batch_tokens,
            reference_curve=plan.reference_curve,
            limit_s=plan.limit_s,
        )
        self._readings, self.watch = Readings(plan.rank, device), Stopwatch(plan.checkpoint_every_s)
        self.seconds_before = 0.0

    def resume(self) -> int:
        """Take the newest checkpoint up; gives the first step to do."""
        found = latest_checkpoint(self.plan.out, self.plan.fingerprint)
        if found is not None:
            path, state = found
            self._engine.load(path)
            self.progress.losses.extend(state["losses"])
            self.seconds_before = state["seconds"]
        return len(self.progress.losses)

    def add(self, loss: Tensor, gradient_norm: Tensor, *, is_last: bool) -> None:
        """Take a step's figures, judge those that have arrived, and save where that is due."""
        self.watch.n_steps += 1
        self._readings.add(loss, gradient_norm, is_due=self.watch.is_due())
        if self._take(all_of_them=is_last) and not is_last:
            self._take(all_of_them=True)  # what is saved has been judged
            self._save()
            self.watch.restart()
        if is_last:
            self.progress.write(self.watch.rate(self.plan.scale.batch_tokens))

    def count(self, cost: Cost, execution: Execution, device: torch.device) -> None:
        """Tell what the steps so far have cost."""
        scale = self.plan.scale
        n_rows = len(self.progress.losses) * scale.batch_tokens // scale.context
        cost.seconds_before, cost.flops = self.seconds_before, float(execution.flops_per_row) * n_rows
        n_cards = self.plan.rank.count if device.type == "cuda" else 0
        cost.gpu_seconds = (self.seconds_before + self.watch.seconds) * n_cards
        cost.peak_memory_mb = peak_memory_mb(device)

    def _take(self, *, all_of_them: bool) -> bool:
        is_due = False
        for reading in self._readings.take(all_of_them=all_of_them):
            self.progress.add(reading.loss, self.watch.rate(self.plan.scale.batch_tokens))
            self._guard.check(self.progress.losses, reading.gradient_norm)
            is_due |= reading.is_due
        if self.plan.rank.index == 0:
            self._guard.check_time(
                n_done=len(self.progress.losses),
                n_timed=self.watch.n_steps,
                seconds=self.watch.seconds,
                seconds_before=self.seconds_before,
            )
        return is_due

    def _save(self) -> None:
        state: dict[str, Any] = {
            "fingerprint": self.plan.fingerprint,
            "losses": self.progress.losses,
            "seconds": self.seconds_before + self.watch.seconds,
        }
        save_checkpoint(self.plan.out, len(self.progress.losses), state, self._write, self.plan.rank)

    def _write(self, folder: Path) -> None:
        self._engine.save(folder)
        if self.plan.rank.index == 0:
            save_weights(self._model, folder / "weights.safetensors", design_id=self.plan.design_id)


def _result(
    run: _Run, execution: Execution, first: int, n_epochs: float, device: torch.device, cost: Cost
) -> TrainingResult:
    scale, n_ranks = run.plan.scale, run.plan.rank.count
    rows_per_s = run.watch.rate(scale.batch_tokens) / scale.context
    peak = peak_flops(device)
    chosen = asdict(execution)
    model_flops_per_row, _ = chosen.pop("model_flops_per_row"), chosen.pop("flops_per_row")
    return TrainingResult(
        n_steps=scale.n_steps,
        n_tokens=scale.n_steps * scale.batch_tokens,
        n_epochs=n_epochs,
        n_resumed_steps=first,
        n_processes=n_ranks,
        tokens_per_s=run.watch.rate(scale.batch_tokens),
        train_loss_nats=float(np.mean(run.progress.losses[-N_SMOOTHED:])),
        curve=run.progress.curve(),
        mfu=model_flops_per_row * rows_per_s / (peak * n_ranks) if peak else None,
        **chosen,
        flops_per_token=model_flops_per_row / scale.context,
        seconds=cost.seconds,
        flops=cost.flops,
        gpu_seconds=cost.gpu_seconds,
        peak_memory_mb=cost.peak_memory_mb,
    )


@torch.no_grad()
def validation_loss(model: GAM, shards: Shards, context: int) -> float:
    """Mean loss over the fixed validation rows, nats per token; one row at a time, in evaluation mode and float32."""
    rows = PackedRows(shards.tokens("val"), context)
    device = model.embedding.weight.device
    model.eval()
    with torch.compiler.set_stance("force_eager"):
        losses = [token_loss(model(x), y).item() for x, y in _validation_batches(rows, device)]
    loss = float(np.mean(losses))
    require_finite("validation loss", loss, 0)
    return loss


def _validation_batches(rows: PackedRows, device: torch.device) -> Iterator[tuple[Tensor, Tensor]]:
    for index in spread_rows(rows.n_rows, N_VALIDATION_ROWS):
        batch = torch.from_numpy(rows.rows(np.array([index]))).to(device)
        yield batch[:, :-1], batch[:, 1:]


def _stream(seed: int, step: int, rank: int) -> int:
    entropy = (seed, step, rank) if rank else (seed, step)
    return int(np.random.SeedSequence(entropy).generate_state(1, np.uint64)[0])
