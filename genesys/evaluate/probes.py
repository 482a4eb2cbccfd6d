"""Synthetic probes: can a design's block learn recall, selective copy and induction?

Loss at small budgets mis-ranks designs: convolutions lead attention there, and lose what attention can do. Each probe
trains a fresh model of the block on its own data, with its own learning rate (the better of two, chosen by a short
trial) and its own standard deviation of the embedding: with the ordinary .02 attention does not learn recall in the
time there is. All designs get the same steps; who has solved a task stops early.

Each token comes with the one before it (`_embed`): joining neighbours is what takes attention thousands of steps to
learn, while finding a place by its content is what tells designs apart. A convolution gains one token of reach by it.

A probe's weights are not those that law 1 speaks of; their hash is recorded apart. Source: Arora et al. 2023
("Zoology"), Poli et al. 2024 ("MAD").
"""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from genesys.errors import ConfigError, JobFailed, suggest
from genesys.evaluate.tasks import NO_ANSWER, TASKS, Task
from genesys.gau import UnitTree
from genesys.model import GAM, ModelShape, build_model

PASS_ACCURACY = 0.9
_D_MODEL, _N_BLOCKS = 64, 2
_EMBEDDING_STD = 0.3
_LEARNING_RATES = (3e-3, 1e-2)
_N_TRIAL_STEPS, _MAX_STEPS = 20, 240
_BATCH_ROWS = 16
_CHECK_EVERY, _SOLVED = 20, 0.97
_N_TEST_ROWS = 256
_TRAIN_STREAM, _CHECK_STREAM, _TEST_STREAM = 1, 2, 3


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeResult:
    """One probe of one design.

    Attributes:
        accuracy: On fresh sequences, at the places where an answer is asked.
        chance: Analytic accuracy of an answer that ignores the sequence.
        se: Standard error over sequences.
        n_steps: Of the training that counts, trials not included.
        weights_sha256: Of the probed model's parameters.
    """

    name: str
    accuracy: float
    chance: float
    se: float
    peak_lr: float
    n_steps: int
    seconds: float
    weights_sha256: str


def run_probes(tree: UnitTree, names: Sequence[str], *, seed: int) -> dict[str, Any]:
    """Run some probes; `{"seconds", "probes": {name: fields of ProbeResult}}`.

    Raises:
        ConfigError: No such probe.
        JobFailed: A loss or a gradient is not finite at both learning rates.
    """
    for name in names:
        if name not in TASKS:
            raise ConfigError(f"Cannot run probe {name!r}; expected one of {', '.join(TASKS)}.{suggest(name, TASKS)}")
    started = time.monotonic()
    results = [run_probe(tree, TASKS[name], seed=seed) for name in names]
    return {"seconds": time.monotonic() - started, "probes": {result.name: asdict(result) for result in results}}


def run_probe(tree: UnitTree, task: Task, *, seed: int, max_steps: int = _MAX_STEPS) -> ProbeResult:
    """Train a fresh model of the design on a task and test it on sequences it has not seen."""
    started = time.monotonic()
    trials = sorted(
        (_Trial(tree, task, lr, seed, max_steps) for lr in _LEARNING_RATES), key=lambda t: t.run(_N_TRIAL_STEPS)
    )
    best = trials[0]
    if not math.isfinite(best.loss):
        raise JobFailed("non-finite", f"Cannot probe {task.name}: the loss is not finite at any learning rate.")
    best.finish()
    accuracy, se = best.test()
    return ProbeResult(
        name=task.name,
        accuracy=accuracy,
        chance=task.chance,
        se=se,
        peak_lr=best.peak_lr,
        n_steps=best.n_steps,
        seconds=time.monotonic() - started,
        weights_sha256=_digest(best.model),
    )


class _Trial:
    """One model on one task at one learning rate; runs a few steps, and on from there if it is the better one."""

    def __init__(self, tree: UnitTree, task: Task, peak_lr: float, seed: int, max_steps: int) -> None:
        shape = ModelShape(vocab_size=task.vocab_size, d_model=_D_MODEL, n_blocks=_N_BLOCKS)
        self.model = build_model(tree, shape, seed=seed, embedding_std=_EMBEDDING_STD)
        self.peak_lr, self.n_steps, self.loss = peak_lr, 0, math.inf
        self._task, self._seed, self._max_steps = task, seed, max_steps
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
            self.n_steps < self._max_steps and not self._accuracies(_CHECK_STREAM + self.n_steps, 32).mean() >= _SOLVED
        ):
            self.run(_CHECK_EVERY)
            if not math.isfinite(self.loss):
                raise JobFailed(
                    "non-finite", f"Cannot probe {self._task.name}: the loss is not finite at step {self.n_steps}."
                )

    def test(self) -> tuple[float, float]:
        """Accuracy on held-out sequences, and its standard error over them."""
        accuracies = self._accuracies(_TEST_STREAM, _N_TEST_ROWS)
        return float(accuracies.mean()), float(accuracies.std(correction=1) / math.sqrt(len(accuracies)))

    def _train(self) -> Iterator[float]:
        optimizer = torch.optim.AdamW(self.model.parameters(), lr=self.peak_lr, betas=(0.9, 0.98), weight_decay=0.0)
        data = _generator(self._seed, _TRAIN_STREAM, self._task.name)
        self.model.train()
        while self.n_steps < self._max_steps:
            tokens, answers = self._task.sample(_BATCH_ROWS, data)
            asked = answers != NO_ANSWER
            loss = F.cross_entropy(self._logits(tokens, asked), answers[asked])
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
        return self.peak_lr * warm * (0.1 + 0.9 * 0.5 * (1 + math.cos(math.pi * self.n_steps / self._max_steps)))

    def _logits(self, tokens_BL: Tensor, asked_BL: Tensor) -> Tensor:
        """Logits at the places where an answer is asked, (N, V)."""
        return self.model.head(self.model.hidden(_embed(self.model, tokens_BL))[asked_BL])

    @torch.no_grad()
    def _accuracies(self, stream: int, n_rows: int) -> Tensor:
        """Share of right answers in each of `n_rows` fresh sequences."""
        self.model.eval()
        tokens, answers = self._task.sample(n_rows, _generator(self._seed, stream, self._task.name))
        right = (self.model.head(self.model.hidden(_embed(self.model, tokens))).argmax(-1) == answers).sum(1)
        self.model.train()
        return right.double() / (answers != NO_ANSWER).sum(1)


def _embed(model: GAM, tokens_BL: Tensor) -> Tensor:
    """Each token's embedding, plus that of the token before it with its channels rolled by one, (B, L, D)."""
    x_BLD: Tensor = model.embedding(tokens_BL)
    return x_BLD + F.pad(x_BLD, (0, 0, 1, 0))[:, :-1].roll(1, dims=-1)


def _generator(seed: int, stream: int, name: str) -> torch.Generator:
    digest = hashlib.sha256(repr((seed, stream, name)).encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:7], "big"))


def _digest(model: nn.Module) -> str:
    digest = hashlib.sha256()
    for name, parameter in sorted(model.named_parameters()):
        digest.update(name.encode() + parameter.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()
