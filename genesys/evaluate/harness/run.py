"""A suite asked of a model: lm-eval's tasks through our adapter."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Lock
from typing import Any

from genesys.errors import ConfigError
from genesys.evaluate.harness.scores import SuiteResult, TaskScore, group_score, task_score
from genesys.evaluate.harness.sources import Group, LoadedTasks, load_tasks, missing, resolve, spread
from genesys.evaluate.harness.suites import Suite, load_suite
from genesys.evaluate.questions import TokenModel
from genesys.tokens import Tokenizer

FEWSHOT_SEED = 1234  # lm-eval's own default
_ALONE = Lock()


def run_suite(
    model: TokenModel, tokenizer: Tokenizer, suite: str | Suite, *, data: Path | None = None, limit: int | None = None
) -> SuiteResult:
    """Ask a suite of a model. Every task's questions are asked together.

    Args:
        model: What is asked.
        tokenizer: That of the model.
        suite: Name of a suite of ours, path of a YAML file, or a suite.
        data: Folder of local data sets, which keeps lm-eval off the network; None takes them from the hub.
        limit: The most documents a task, below the suite's own limits.

    Raises:
        ConfigError: No such suite or task; lm-eval is not installed; a task that is not optional is absent.
        TransientError: The hub does not answer.
        JobFailed: A likelihood is not finite.
    """
    with _loaded(suite, data, limit) as (suite, groups, loaded, limits):
        scores = _evaluate(model, tokenizer, loaded.tasks, limits) if loaded.tasks else {}
    results = {}
    for name, group in groups.items():
        members = {member: scores[member] for member in group.members if member in scores}
        if members:
            alone = group.members == (name,)
            results[name] = members[name] if alone else group_score(members, by_size=group.by_size)
    return SuiteResult(suite=suite.name, tasks=results, absent=loaded.absent)


def require_suite(suite: str | Suite, *, data: Path | None = None) -> None:
    """Load a suite's tasks with their data, and let them go: what is missing comes out before it is needed.

    Raises:
        ConfigError, TransientError: As `run_suite`.
    """
    with _loaded(suite, data, None):
        pass


@contextmanager
def _loaded(
    suite: str | Suite, data: Path | None, limit: int | None
) -> Iterator[tuple[Suite, dict[str, Group], LoadedTasks, dict[str, int | None]]]:
    """A suite, its entries' members, the loaded tasks, and each one's limit."""
    suite = suite if isinstance(suite, Suite) else load_suite(suite)
    if limit is not None and limit < 1:
        raise ConfigError(f"Cannot run suite {suite.name!r} on {limit} documents: expected at least 1.")
    if data is not None and not data.is_dir():
        raise ConfigError(f"Cannot run suite {suite.name!r} on local data: {str(data)!r} is no folder.")
    groups = {entry.task: resolve(entry.task) for entry in suite.tasks}
    asked = {
        name: replace(entry, limit=_least(entry.limit, limit))
        for entry in suite.tasks
        for name in groups[entry.task].members
    }
    with TemporaryDirectory() as folder, quiet(offline=data is not None):
        loaded = load_tasks(asked, data=data, folder=Path(folder))
        required = [name for name, entry in asked.items() if not entry.optional]
        if reason := missing(loaded.absent, required, suite.name):
            raise ConfigError(f"{reason} Add the data, or leave the task out of the suite.")
        yield suite, groups, loaded, {name: asked[name].limit for name in loaded.tasks}


def _least(*limits: int | None) -> int | None:
    return min((limit for limit in limits if limit is not None), default=None)


def _evaluate(
    model: TokenModel, tokenizer: Tokenizer, tasks: dict[str, Any], limits: dict[str, int | None]
) -> dict[str, TaskScore]:
    from lm_eval.evaluator import evaluate

    from genesys.evaluate.harness.adapter import HarnessModel

    samples = {}
    for name, task in tasks.items():
        task.set_fewshot_seed(FEWSHOT_SEED)
        if limits[name] is not None:
            samples[name] = spread(len(task.eval_docs), limits[name])
    found = evaluate(
        HarnessModel(model, tokenizer), {"tasks": tasks}, samples=samples, log_samples=True, bootstrap_iters=0
    )
    scores = {}
    for name, task in tasks.items():
        score = task_score(task, found["results"][name], found["samples"][name])
        if score is None:
            raise ConfigError(f"Cannot score task {name!r}: its definition has no accuracy. Leave it out of the suite.")
        scores[name] = score
    return scores


@contextmanager
def quiet(*, offline: bool) -> Iterator[None]:
    """Keep lm-eval and its data sets from printing progress, from compiling a template anew for each document (half of
    its time), and, if `offline`, from the network.

    Loading local files would otherwise still be counted at the hub, a call with a timeout of seconds each. What is
    changed belongs to the process, so one suite runs at a time.
    """
    import lm_eval.api.task as lm_eval_task
    from lm_eval.utils import env

    log, data_sets = logging.getLogger("lm_eval"), lm_eval_task.datasets
    with _ALONE, ExitStack() as undo:
        undo.callback(log.setLevel, log.level)
        log.setLevel(logging.ERROR)
        if not data_sets.are_progress_bars_disabled():
            undo.callback(data_sets.enable_progress_bars)
            data_sets.disable_progress_bars()
        undo.enter_context(_replaced(lm_eval_task, "tqdm", lambda rows, **_: rows))
        undo.enter_context(_replaced(env, "from_string", cache(env.from_string)))
        if offline:
            undo.enter_context(_replaced(data_sets.config, "HF_HUB_OFFLINE", True))
        yield


@contextmanager
def _replaced(owner: Any, name: str, value: Any) -> Iterator[None]:
    before = getattr(owner, name)
    setattr(owner, name, value)
    try:
        yield
    finally:
        setattr(owner, name, before)
