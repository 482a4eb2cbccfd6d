"""The suites that we ship, and what a suite's file may say."""

from __future__ import annotations

from pathlib import Path

import pytest

from genesys.errors import ConfigError
from genesys.evaluate.harness import SuiteTask, load_suite, run_suite, suite_names
from genesys.evaluate.harness.sources import resolve, spread
from genesys.tokens import ByteTokenizer
from tests.evaluate.test_harness import model, noise
from tests.shared_data import shared_data


def test_the_shipped_suites() -> None:
    assert suite_names() == ["cheap", "cpu", "informative9", "paper29"]
    sizes = {name: len(load_suite(name).tasks) for name in suite_names()}
    assert (sizes["paper29"], sizes["informative9"]) == (29, 9)


@pytest.mark.parametrize("name", ["cheap", "cpu", "informative9", "paper29"])
def test_every_entry_is_known_to_lm_eval(name: str) -> None:
    members = {entry.task: resolve(entry.task).members for entry in load_suite(name).tasks}
    together = [member for group in members.values() for member in group]
    assert len(together) == len(set(together))
    sizes = {"blimp": 67, "blimp_supplement": 5, "inverse_scaling_mc": 11, "qa4mre": 3}
    assert all(len(group) == sizes.get(task, 1) for task, group in members.items())


def test_the_cpu_suite_runs_on_the_shared_data() -> None:
    result = run_suite(model(noise), ByteTokenizer(), "cpu", data=shared_data("eval"), limit=1)
    assert list(result.tasks) == [entry.task for entry in load_suite("cpu").tasks]
    assert all(name.startswith("blimp_") for name in result.absent)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("tasks: [{task: cola, limitt: 3}]", r"unknown key 'limitt'; expected some of .* Did you mean 'limit'\?"),
        ("tasks: [{task: cola, limit: 0}]", "limit of 'cola' is 0; expected a number >= 1"),
        ("tasks: [{task: cola, n_shot: true}]", "n_shot of 'cola' is True; expected a number >= 0"),
        ("tasks: [{task: cola, optional: 1}]", "optional of 'cola' is 1; expected true or false"),
        ("tasks: [{limit: 3}]", "expected an entry with `task: NAME`"),
        ("tasks: [{task: cola}, {task: cola}]", "cola twice; expected each task once"),
        ("tasks: []", "expected a list under `tasks`"),
        ("cola", "expected a list under `tasks`"),
    ],
)
def test_a_file_that_is_no_suite(text: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "own.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=message):
        load_suite(str(path))


def test_a_suite_of_ones_own_and_one_that_is_not_there(tmp_path: Path) -> None:
    path = tmp_path / "own.yaml"
    path.write_text("tasks: [{task: cola, limit: 3}]")
    assert load_suite(str(path)).tasks == (SuiteTask(task="cola", limit=3),)
    with pytest.raises(ConfigError, match=r"Cannot find suite 'papr29'.* Did you mean 'paper29'\?"):
        load_suite("papr29")


def test_documents_are_spread() -> None:
    assert spread(10, 4) == [0, 2, 5, 7]
    assert spread(3, 10) == spread(3, None) == [0, 1, 2]
