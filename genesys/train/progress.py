"""The losses of a training as they come: read late, recorded for whoever waits, thinned out to a curve; and what it costs."""

from __future__ import annotations

import json
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from genesys.train.world import Rank

N_CURVE_POINTS = 50
_PROGRESS_EVERY_S = 1.0
_GPU_LAG = 4


@dataclass(frozen=True, slots=True)
class Reading:
    """One step's loss in nats per token and gradient norm, and whether a checkpoint was due then."""

    loss: float
    gradient_norm: float
    is_due: bool


class Readings:
    """The figures of each step, the same on all ranks.

    On a card they are read some steps late, so that it never waits for the host; the number is fixed, so that all ranks
    save after the same step.
    """

    def __init__(self, rank: Rank, device: torch.device) -> None:
        self._rank, self._on_card = rank, device.type == "cuda"
        self._lag = _GPU_LAG if self._on_card else 0
        self._waiting: deque[tuple[Tensor, torch.cuda.Event | None]] = deque()

    def add(self, loss: Tensor, gradient_norm: Tensor, *, is_due: bool) -> None:
        """Take a step's figures from the device; the first rank's clock decides what is due."""
        due = torch.full_like(loss, float(is_due and self._rank.index == 0))
        shared = self._rank.sum(torch.stack([loss / self._rank.count, due]))
        values = torch.cat([shared, gradient_norm.reshape(1).to(shared.dtype)])
        if not self._on_card:
            self._waiting.append((values, None))
            return
        host, copied = torch.empty(3, pin_memory=True), torch.cuda.Event()
        host.copy_(values, non_blocking=True)
        copied.record()
        self._waiting.append((host, copied))

    def take(self, *, all_of_them: bool = False) -> Iterator[Reading]:
        """The figures that have waited long enough, oldest first."""
        while len(self._waiting) > (0 if all_of_them else self._lag):
            values, copied = self._waiting.popleft()
            if copied is not None:
                copied.synchronize()
            loss, due, norm = values.tolist()
            yield Reading(loss, norm, bool(due))


@dataclass(slots=True)
class Progress:
    """The losses so far, and the record of them that the parent reads; None where another rank writes it."""

    path: Path | None
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
        if self.path is None or not self.losses:
            return
        line = {"n_tokens": len(self.losses) * self.batch_tokens, "loss": self.losses[-1], "tokens_per_s": tokens_per_s}
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")

    def curve(self) -> tuple[tuple[int, float], ...]:
        """At most 50 points (tokens seen, loss), evenly spread over the steps."""
        n = len(self.losses)
        steps = np.unique(np.linspace(0, n - 1, min(n, N_CURVE_POINTS)).round().astype(int))
        return tuple((int(step + 1) * self.batch_tokens, self.losses[step]) for step in steps)


class Stopwatch:
    """Time and tokens of this process's part of the training, and when the next checkpoint is due."""

    def __init__(self, checkpoint_every_s: float | None) -> None:
        self._started = self._checkpointed = time.monotonic()
        self._every_s = checkpoint_every_s
        self.n_steps = 0

    @property
    def seconds(self) -> float:
        return time.monotonic() - self._started

    def rate(self, batch_tokens: int) -> float:
        """Tokens per second."""
        return self.n_steps * batch_tokens / max(self.seconds, 1e-9)

    def is_due(self) -> bool:
        return self._every_s is not None and time.monotonic() - self._checkpointed >= self._every_s

    def restart(self) -> None:
        self._checkpointed = time.monotonic()


@dataclass(slots=True)
class Cost:
    """What a training has cost since this was made; stands also when the training fails.

    Attributes:
        seconds_before: Spent on steps by earlier processes of this training, up to the checkpoint that was resumed.
        flops: Of all steps, as `Execution.flops_per_row` counts.
        gpu_seconds: Of all steps, times cards.
    """

    seconds_before: float = 0.0
    flops: float = 0.0
    gpu_seconds: float = 0.0
    peak_memory_mb: float = 0.0
    _started: float = field(default_factory=time.monotonic)

    @property
    def seconds(self) -> float:
        return self.seconds_before + time.monotonic() - self._started

    def figures(self) -> dict[str, float]:
        return {name: getattr(self, name) for name in ("seconds", "flops", "gpu_seconds", "peak_memory_mb")}
