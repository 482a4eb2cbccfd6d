"""Probes tell mixers apart, a random model scores chance, and rows are what their tasks say."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

from genesys.errors import ConfigError
from genesys.evaluate import probes
from genesys.evaluate.tasks import NO_ANSWER, PASS_ACCURACY, TASKS, TEST_STREAM, TRAIN_STREAM, Task, task_stream
from genesys.evaluate.weights import load_weights
from genesys.gau import UnitTree
from genesys.gau.library import SEED_NAMES, seed_design, unit_named
from genesys.ladder.presets import CPU_SCALES, PAPER_SCALES
from genesys.ladder.scale import PROBES
from genesys.model import GAM
from tests.designs import convolution_only

torch.set_num_threads(1)


def gpt_with(**units: str) -> UnitTree:
    """The GPT seed with other units of the library at these paths."""
    tree = seed_design("gpt")
    for path, unit in units.items():
        tree = tree.graft(path.replace("__", "."), UnitTree(unit_named(unit)))
    return tree


DESIGNS: dict[str, Callable[[], UnitTree]] = {
    **{name: partial(seed_design, name) for name in SEED_NAMES},
    "convolution": convolution_only,
    "mean": partial(gpt_with, mixer="CumulativeMean"),
    "no-position": partial(gpt_with, mixer__position="NoPosition"),
    "linear": partial(gpt_with, mixer="ShortConv", channel="Identity"),
}
slow = partial(pytest.param, marks=pytest.mark.slow)


def accuracy(design: str, name: str, weights: Path, *, seed: int = 0) -> float:
    """Train a probe and try it on fresh rows."""
    tree, task = DESIGNS[design](), TASKS[name]
    trained = probes.train_probe(tree, task, weights, seed=seed)
    model = probes.probe_model(tree, task, seed=seed).eval()
    assert load_weights(model, weights, design_id=tree.design_id) == trained.weights_sha256
    return share_right(model, task, seed)


@torch.no_grad()
def share_right(model: GAM, task: Task, seed: int) -> float:
    tokens, answers = map(torch.from_numpy, task.test_rows(256, f"{seed:064x}"))
    asked = answers != NO_ANSWER
    right = model.head(probes.probe_hidden(model, task, tokens)).argmax(-1) == answers
    return float((right & asked).sum() / asked.sum())


@pytest.mark.parametrize(
    ("name", "design"),
    [
        ("recall", "gpt"),
        slow("copy", "ttt"),
        slow("induction", "gpt"),
        slow("fuzzy_recall", "ttt"),
        ("noisy_recall", "gpt"),
        slow("compression", "gpt"),
        ("memorisation", "gpt"),
        ("length_generalisation", "no-position"),
    ],
)
def test_a_mixer_that_can_passes(name: str, design: str, tmp_path: Path) -> None:
    assert accuracy(design, name, tmp_path / "w") >= PASS_ACCURACY


@pytest.mark.slow
def test_mamba2_recalls_most(tmp_path: Path) -> None:
    """With the learning rates of the other probes it ends at about .5."""
    assert accuracy("mamba2", "recall", tmp_path / "w") > 0.7


@pytest.mark.parametrize(
    ("name", "design", "below"),
    [
        ("recall", "convolution", 0.3),
        slow("copy", "convolution", 0.3),
        slow("induction", "convolution", 0.2),
        slow("fuzzy_recall", "convolution", 0.2),
        ("noisy_recall", "convolution", 0.2),
        slow("compression", "mean", 0.6),
        ("memorisation", "linear", 0.3),
        slow("length_generalisation", "convolution", 0.2),
        slow("length_generalisation", "retnet", 0.7),  # it recalls at the length that it was trained at
    ],
)
def test_a_mixer_that_cannot_stays_below(name: str, design: str, below: float, tmp_path: Path) -> None:
    assert accuracy(design, name, tmp_path / "w") < below


def test_every_rung_asks_for_recall_and_the_papers_for_all() -> None:
    """The probes' models have one size, so that what separates designs on one rung does on all."""
    assert set(TASKS) == set(PROBES)
    assert all("recall" in scale.probes for scale in CPU_SCALES)
    assert all(scale.probes == PROBES for scale in PAPER_SCALES)


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


def test_noise_hides_consistent_pairs() -> None:
    task = TASKS["length_generalisation"]
    for length in (task.length, task.longer):
        tokens, answers = replace(task, length=length).sample(50, task_stream(0, TRAIN_STREAM, "noisy"))
        assert tokens.shape == (50, length)
        for row, asked in zip(tokens.tolist(), answers.tolist(), strict=True):
            told = [t for t in row if t < 2 * task.n_answers]
            pairs = dict(zip(told[: 2 * task.n_items : 2], told[1 : 2 * task.n_items : 2], strict=True))
            assert len(pairs) == task.n_items
            found = [(t, a) for t, a in zip(row, asked, strict=True) if a != NO_ANSWER]
            assert len(found) == 2 * task.n_items and all(pairs[key] == value for key, value in found)


def test_words_keep_their_values_and_share_last_letters() -> None:
    task = TASKS["fuzzy_recall"]
    n_letters, shared = task.vocab_size - task.n_answers, 0
    tokens, answers = task.sample(50, task_stream(0, TRAIN_STREAM, "fuzzy_recall"))
    for row, asked in zip(tokens.tolist(), answers.tolist(), strict=True):
        values: dict[tuple[int, ...], int] = {}
        word: tuple[int, ...] = ()
        for place, token in enumerate(row):
            if token >= n_letters:
                assert values.setdefault(word, token) == token
                word = ()
                continue
            word += (token,)
            ended = place + 1 < len(row) and row[place + 1] >= n_letters
            if ended:
                assert asked[place] == values.get(word, NO_ANSWER)
            elif place + 1 < len(row):
                assert asked[place] == NO_ANSWER
        assert len(values) == task.n_items and {len(w) for w in values} <= {1, 2, 3}
        shared += len({w[-1] for w in values}) < len(values)
    assert shared > 25


def test_facts_are_the_same_in_every_stream() -> None:
    task, facts = TASKS["memorisation"], dict[tuple[int, int], int]()
    for seed in range(3):
        tokens, answers = task.sample(200, task_stream(seed, TEST_STREAM, "memorisation"))
        halves = tokens.reshape(-1, 2).tolist()
        for (first, second), value in zip(halves, answers[:, 1::2].ravel().tolist(), strict=True):
            assert facts.setdefault((first, second), value) == value
    assert len(facts) == task.n_items**2
    assert set(np.bincount(list(facts.values()))[2 * task.n_items :]) == {task.n_items**2 // task.n_answers}


def test_compressed_rows_are_asked_in_order() -> None:
    task = TASKS["compression"]
    tokens, answers = task.sample(50, task_stream(0, TRAIN_STREAM, "compression"))
    assert np.array_equal(tokens[:, : task.one_state], answers[:, task.one_state :])
    assert (answers[:, : task.one_state] == NO_ANSWER).all()


def test_one_state_answers_whatever_else_is_asked() -> None:
    """A design cannot look back at the row when it is asked: the order of the questions changes no answer."""
    task = TASKS["compression"]
    model = probes.probe_model(seed_design("gpt"), task, seed=0).eval()
    tokens = torch.from_numpy(task.sample(4, task_stream(0, TRAIN_STREAM, "compression"))[0])
    first, order = task.one_state, torch.tensor([0, 5, 2, 9, 1, 3, 4, 6, 7, 8, 10, 11])
    asked_otherwise = torch.cat([tokens[:, :first], tokens[:, first:][:, order]], dim=1)
    with torch.no_grad():
        ours, theirs = (probes.probe_hidden(model, task, rows)[:, first:] for rows in (tokens, asked_otherwise))
    assert torch.allclose(ours[:, order], theirs)


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
    task = replace(TASKS["copy"], length=12, n_steps=25)
    one, two = (probes.train_probe(convolution_only(), task, tmp_path / name, seed=5) for name in ("one", "two"))
    assert one.weights_sha256 == two.weights_sha256 and one.n_steps == 25


def test_an_unknown_probe_is_refused() -> None:
    with pytest.raises(ConfigError, match="Did you mean 'recall'"):
        probes.probe_task("recal")
