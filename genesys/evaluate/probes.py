"""Synthetic probes: can a design's block learn to recall, copy, compress, memorise, and to do so in longer rows?

Loss at small budgets mis-ranks designs: convolutions lead attention there, and lose what attention can do. Each probe
trains a fresh model of the block on its own data, with its own learning rate (the better of two, chosen by a short
trial) and its own standard deviation of the embedding: with the ordinary .02 attention does not learn recall in the
time there is. All designs get the same steps; who has solved a task stops early.

Each token comes with the one before it (`_embed`): joining neighbours is what takes attention thousands of steps to
learn, while finding a place by its content is what tells designs apart. A convolution gains one token of reach by it.

Here a probe is only trained: the trusted side draws the test rows, which this process never sees, and scores them from
the raw logits (`genesys.verification.probing`). A probe's weights are not those that law 1 speaks of; their hash is
recorded apart. Source: Arora et al. 2023 ("Zoology"), Poli et al. 2024 ("MAD").
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from genesys.errors import ConfigError, JobFailed, suggest
from genesys.evaluate.tasks import (
    CHECK_STREAM,
    NO_ANSWER,
    PROBE_D_MODEL,
    PROBE_EMBEDDING_STD,
    PROBE_N_BLOCKS,
    TASKS,
    TRAIN_STREAM,
    Task,
    task_stream,
)
from genesys.evaluate.weights import save_weights
from genesys.gau import UnitTree
from genesys.model import GAM, ModelShape, build_model

_N_TRIAL_STEPS = 20
_BATCH_ROWS = 16
_CHECK_EVERY, _SOLVED = 20, 0.97


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeTraining:
    """How the training of one probe went.

    Attributes:
        n_steps: Of the training that counts, trials not included.
        weights_sha256: Of the safetensors file that it left.
    """

    peak_lr: float
    n_steps: int
    seconds: float
    weights_sha256: str


def probe_task(name: str) -> Task:
    """A probe's task.

    Raises:
        ConfigError: No such probe.
    """
    if name not in TASKS:
        raise ConfigError(f"Cannot run probe {name!r}; expected one of {', '.join(TASKS)}.{suggest(name, TASKS)}")
    return TASKS[name]


def probe_model(tree: UnitTree, task: Task, *, seed: int) -> GAM:
    """The untrained model of a probe."""
    shape = ModelShape(vocab_size=task.vocab_size, d_model=PROBE_D_MODEL, n_blocks=PROBE_N_BLOCKS)
    return build_model(tree, shape, seed=seed, embedding_std=PROBE_EMBEDDING_STD)


def probe_hidden(model: GAM, task: Task, tokens_BL: Tensor) -> Tensor:
    """The states from which a probed model answers at every place, (B, L, D), before the last norm.

    Where a task has one state for all answers, it is taken times the embedding of the token that asks.
    """
    if not task.one_state:
        return model.hidden(_embed(model, tokens_BL))
    x_BLD = model.hidden(_embed(model, tokens_BL[:, : task.one_state + 1]))
    asks_BLD = model.embedding(tokens_BL[:, task.one_state :])
    return torch.cat([x_BLD[:, :-1], x_BLD[:, -1:] * asks_BLD], dim=1)


def train_probe(tree: UnitTree, task: Task, weights: Path, *, seed: int) -> ProbeTraining:
    """Train a fresh model of the design on a task and leave its weights as a file.

    Raises:
        JobFailed: A loss or a gradient is not finite at both learning rates.
    """
    started = time.monotonic()
    trials = sorted((_Trial(tree, task, lr, seed) for lr in task.peak_lrs), key=lambda t: t.run(_N_TRIAL_STEPS))
    best = trials[0]
    if not math.isfinite(best.loss):
        raise JobFailed("non-finite", f"Cannot probe {task.name}: the loss is not finite at any learning rate.")
    best.finish()
    return ProbeTraining(
        peak_lr=best.peak_lr,
        n_steps=best.n_steps,
        weights_sha256=save_weights(best.model, weights, design_id=tree.design_id),
        seconds=time.monotonic() - started,
    )


class _Trial:
    """One model on one task at one learning rate; runs a few steps, and on from there if it is the better one."""

    def __init__(self, tree: UnitTree, task: Task, peak_lr: float, seed: int) -> None:
        self.model = probe_model(tree, task, seed=seed)
        self.peak_lr, self.n_steps, self.loss = peak_lr, 0, math.inf
        self._task, self._seed = task, seed
        self._steps = self._train()

    def run(self, n_steps: int) -> float:
        """Take up to `n_steps` more steps; gives the mean loss of the last ten, infinite once it was not finite."""
        recent = [self.loss]
        for _ in range(n_steps):
            loss = next(self._steps, None)
            if loss is None:
                break
            recent.append(loss)
        tail = recent[-10:]
        self.loss = sum(tail) / len(tail) if all(map(math.isfinite, tail)) else math.inf
        return self.loss

    def finish(self) -> None:
        """Train until the task is solved or the steps are spent."""
        while (
            self.n_steps < self._task.n_steps
            and not self._accuracies(CHECK_STREAM + self.n_steps, 32).mean() >= _SOLVED
        ):
            self.run(_CHECK_EVERY)
            if not math.isfinite(self.loss):
                raise JobFailed(
                    "non-finite", f"Cannot probe {self._task.name}: the loss is not finite at step {self.n_steps}."
                )

    def _train(self) -> Iterator[float]:
        optimizer = torch.optim.AdamW(self.model.parameters(), lr=self.peak_lr, betas=(0.9, 0.98), weight_decay=0.0)
        data = task_stream(self._seed, TRAIN_STREAM, self._task.name)
        self.model.train()
        while self.n_steps < self._task.n_steps:
            tokens, answers = map(torch.from_numpy, self._task.sample(_BATCH_ROWS, data))
            asked = answers != NO_ANSWER
            hidden = probe_hidden(self.model, self._task, tokens)
            loss = F.cross_entropy(self.model.head(hidden[asked]), answers[asked])
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
            for group in optimizer.param_groups:
                group["lr"] = self._lr()
            optimizer.step()
            self.n_steps += 1
            yield loss.item()

    def _lr(self) -> float:
        warm = min(1.0, (self.n_steps + 1) / 20)
        return self.peak_lr * warm * (0.1 + 0.9 * 0.5 * (1 + math.cos(math.pi * self.n_steps / self._task.n_steps)))

    @torch.no_grad()
    def _accuracies(self, stream: int, n_rows: int) -> Tensor:
        """Share of right answers in each of `n_rows` fresh sequences."""
        self.model.eval()
        drawn = self._task.sample(n_rows, task_stream(self._seed, stream, self._task.name))
        tokens, answers = map(torch.from_numpy, drawn)
        right = (self.model.head(probe_hidden(self.model, self._task, tokens)).argmax(-1) == answers).sum(1)
        self.model.train()
        return right.double() / (answers != NO_ANSWER).sum(1)


def _embed(model: GAM, tokens_BL: Tensor) -> Tensor:
    """Each token's embedding, plus that of the token before it with its channels rolled by one, (B, L, D)."""
    x_BLD: Tensor = model.embedding(tokens_BL)
    return x_BLD + F.pad(x_BLD, (0, 0, 1, 0))[:, :-1].roll(1, dims=-1)
