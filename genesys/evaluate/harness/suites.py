"""Suites: which tasks are asked, from how many documents, and which of them may be absent. Data files, no lm_eval."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from importlib.resources import files
from pathlib import Path
from typing import Any

import yaml

from genesys.errors import ConfigError, suggest

_SUITES = files("genesys.evaluate") / "suites"


@dataclass(frozen=True, slots=True, kw_only=True)
class SuiteTask:
    """One entry of a suite.

    Attributes:
        task: Name of a task or group, of lm-eval or of `harness/groups.yaml`.
        n_shot: Solved examples before each question; None as the task's definition says.
        limit: The most documents of the task, or of each of a group's members, spread evenly over the set, because
            sets are often sorted by source; None takes all.
        optional: The task, or members of the group, may be absent; the result then says so.
    """

    task: str
    n_shot: int | None = None
    limit: int | None = None
    optional: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Suite:
    """A named list of tasks, each named once."""

    name: str
    tasks: tuple[SuiteTask, ...]


def suite_names() -> list[str]:
    """The suites that we ship."""
    return sorted(path.name.removesuffix(".yaml") for path in _SUITES.iterdir() if path.name.endswith(".yaml"))


def load_suite(name: str) -> Suite:
    """One of our suites by its name, or one from a YAML file by its path.

    Raises:
        ConfigError: There is no such suite, or its file does not hold one.
    """
    path = Path(name) if name.endswith(".yaml") else _SUITES / f"{name}.yaml"
    if not path.is_file():
        raise ConfigError(
            f"Cannot find suite {name!r}: expected one of {', '.join(suite_names())}, or the path of a YAML file."
            f"{suggest(name, suite_names())}"
        )
    data = yaml.safe_load(path.read_text(encoding="utf-8"))
    entries = data.get("tasks") if isinstance(data, dict) else None
    if not isinstance(entries, list) or not entries:
        raise ConfigError(f"Cannot read suite {name!r}: expected a list under `tasks`.")
    tasks = tuple(_entry(name, entry) for entry in entries)
    twice = {task.task for task in tasks if [other.task for other in tasks].count(task.task) > 1}
    if twice:
        raise ConfigError(f"Cannot read suite {name!r}: {', '.join(sorted(twice))} twice; expected each task once.")
    return Suite(name=Path(name).stem, tasks=tasks)


def _entry(suite: str, entry: Any) -> SuiteTask:
    known = {field.name for field in fields(SuiteTask)}
    if not isinstance(entry, Mapping) or not isinstance(entry.get("task"), str):
        raise ConfigError(f"Cannot read suite {suite!r}: {entry!r}; expected an entry with `task: NAME`.")
    for key in entry:
        if key not in known:
            raise ConfigError(
                f"Cannot read suite {suite!r}: {entry['task']!r} has an unknown key {key!r}; expected some of "
                f"{', '.join(sorted(known))}.{suggest(str(key), known)}"
            )
    task = SuiteTask(**entry)
    for key, least in (("n_shot", 0), ("limit", 1)):
        value = getattr(task, key)
        if value is not None and (type(value) is not int or value < least):
            raise ConfigError(
                f"Cannot read suite {suite!r}: {key} of {task.task!r} is {value!r}; expected a number >= {least}."
            )
    if not isinstance(task.optional, bool):
        raise ConfigError(
            f"Cannot read suite {suite!r}: optional of {task.task!r} is {task.optional!r}; expected true or false."
        )
    return task
