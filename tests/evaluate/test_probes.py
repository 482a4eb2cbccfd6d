"""Probes tell attention from convolution, and a random model scores chance."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from genesys.errors import ConfigError
from genesys.evaluate import probes
from genesys.evaluate.tasks import NO_ANSWER, PASS_ACCURACY, TASKS, TEST_STREAM, TRAIN_STREAM, Task, task_stream
from genesys.evaluate.weights import load_weights
from genesys.gau import UnitTree
from genesys.gau.library import seed_design
from genesys.model import GAM
from tests.designs import convolution_only

torch.set_num_threads(1)


def accuracy(tree: UnitTree, task: Task, weights: Path, *, seed: int) -> float:
    """Train a probe and try it on fresh rows."""
    trained = probes.train_probe(tree, task, weights, seed=seed)
    model = probes.probe_model(tree, task, seed=seed).eval()
    assert load_weights(model, weights, design_id=tree.design_id) == trained.weights_sha256
    return share_right(model, task, seed)


@torch.no_grad()
def share_right(model: GAM, task: Task, seed: int) -> float:
    tokens, answers = map(torch.from_numpy, task.sample(256, task_stream(seed, TEST_STREAM, task.name)))
    asked = answers != NO_ANSWER
    right = probes.probe_logits(model, tokens).argmax(-1) == answers
    return float((right & asked).sum() / asked.sum())


def test_attention_recalls(tmp_path: Path) -> None:
    assert accuracy(seed_design("gpt"), TASKS["recall"], tmp_path / "w", seed=0) >= PASS_ACCURACY


def test_convolution_does_not_recall(tmp_path: Path) -> None:
    assert accuracy(convolution_only(), TASKS["recall"], tmp_path / "w", seed=0) < 0.7


@pytest.mark.parametrize("name", list(TASKS))
def test_a_random_model_scores_chance(name: str) -> None:
    """Law 4, at the places asked; a random model may prefer some token, so the bound is a wide one."""
    task = TASKS[name]
    models = [probes.probe_model(seed_design("gpt"), task, seed=seed).eval() for seed in range(4)]
    assert sum(share_right(model, task, seed) for seed, model in enumerate(models)) / 4 <= task.chance + 0.1


@pytest.mark.parametrize("name", list(TASKS))
def test_answers_are_balanced_and_streams_differ(name: str) -> None:
    task = TASKS[name]
    tokens, answers = task.sample(4000, task_stream(0, TRAIN_STREAM, name))
    assert tokens.shape == answers.shape == (4000, task.length) and int(tokens.max()) < task.vocab_size
    counts = np.bincount(answers[answers != NO_ANSWER])
    shares = counts[counts > 0] / counts.sum()
    assert len(shares) == task.n_answers and float(shares.max()) < 1.3 * task.chance
    other, _ = task.sample(4000, task_stream(0, TEST_STREAM, name))
    assert not np.array_equal(tokens, other)


def test_recall_rows_are_consistent() -> None:
    task = TASKS["recall"]
    tokens, answers = task.sample(50, task_stream(0, TRAIN_STREAM, "recall"))
    for row, asked in zip(tokens.tolist(), answers.tolist(), strict=True):
        pairs = dict(zip(row[: 2 * task.n_items : 2], row[1 : 2 * task.n_items : 2], strict=True))
        assert len(pairs) == task.n_items
        assert all(pairs[token] == answer for token, answer in zip(row, asked, strict=True) if answer != NO_ANSWER)


def test_copy_asks_for_the_data_in_order() -> None:
    task = TASKS["copy"]
    tokens, answers = task.sample(50, task_stream(0, TRAIN_STREAM, "copy"))
    for row, asked in zip(tokens.tolist(), answers.tolist(), strict=True):
        assert [t for t in row if t < task.n_answers] == [a for a in asked if a != NO_ANSWER]


def test_induction_answers_follow_the_earlier_occurrence() -> None:
    tokens, answers = TASKS["induction"].sample(50, task_stream(0, TRAIN_STREAM, "induction"))
    for row, asked in zip(tokens.tolist(), answers.tolist(), strict=True):
        for place, answer in enumerate(asked):
            if answer != NO_ANSWER:
                assert row[row.index(row[place]) + 1] == answer


def test_probes_repeat_themselves(tmp_path: Path) -> None:
    task = replace(TASKS["copy"], length=12)
    one, two = (
        probes.train_probe(convolution_only(), task, tmp_path / name, seed=5, max_steps=25) for name in ("one", "two")
    )
    assert one.weights_sha256 == two.weights_sha256 and one.n_steps == 25


def test_an_unknown_probe_is_refused() -> None:
    with pytest.raises(ConfigError, match="Did you mean 'recall'"):
        probes.probe_task("recal")
