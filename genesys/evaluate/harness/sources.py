"""lm-eval's bundled task definitions, found by name, with their data from the hub or from a local folder.

A local folder holds `<task>/<split>.jsonl` or `.jsonl.gz`, one JSON object a line in the schema of the hub's data set.
A definition is used as it is installed: we write a file that includes it and names another source of data.
"""

from __future__ import annotations

import gzip
import importlib.util
import json
import re
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal

import yaml

from genesys.errors import ConfigError, TransientError, suggest
from genesys.evaluate.harness.suites import SuiteTask

_NAMED = re.compile(r"^(task|group): *[\"']?([^\s\"'\[]+)[\"']? *(?:#.*)?$", re.MULTILINE)
_SPLITS = ("training_split", "validation_split", "test_split", "fewshot_split")


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """Tasks that give one figure together: the mean over members, or over documents if `by_size`."""

    members: tuple[str, ...]
    by_size: bool = False
    include: str | None = None


@dataclass(slots=True)
class LoadedTasks:
    """lm-eval's task objects by name, and why each of the others is absent."""

    tasks: dict[str, Any] = field(default_factory=dict)
    absent: dict[str, str] = field(default_factory=dict)


@cache
def definitions() -> Mapping[tuple[Literal["task", "group"], str], Path]:
    """The installed file that defines each task and group.

    Read as text: lm-eval's own index of its 14,000 files takes ten times as long.

    Raises:
        ConfigError: lm-eval is not installed.
    """
    spec = importlib.util.find_spec("lm_eval")
    if spec is None or not spec.submodule_search_locations:
        raise ConfigError("Cannot run tasks: lm-eval is not installed. Install 'genesys-evolution[eval]'.")
    found: dict[Any, Path] = {}
    for path in sorted(Path(spec.submodule_search_locations[0], "tasks").rglob("*.yaml")):
        for kind, name in _NAMED.findall(path.read_text(encoding="utf-8")):
            found.setdefault((kind, name), path)
    return found


@cache
def _own_groups() -> dict[str, Group]:
    text = (files("genesys.evaluate.harness") / "groups.yaml").read_text(encoding="utf-8")
    return {
        name: Group(members=tuple(group["members"]), include=group.get("include"))
        for name, group in yaml.safe_load(text).items()
    }


def resolve(name: str) -> Group:
    """The tasks behind a name; a task is its own only member.

    Raises:
        ConfigError: No task or group has that name, or the group holds more than names of tasks.
    """
    if name in _own_groups():
        return _own_groups()[name]
    if ("task", name) in definitions():
        return Group(members=(name,))
    if ("group", name) not in definitions():
        known = {*_own_groups(), *(known for _, known in definitions())}
        raise ConfigError(
            f"Cannot run task {name!r}: expected a task or group of the installed lm-eval.{suggest(name, known)}"
        )
    data = yaml.safe_load(definitions()["group", name].read_text(encoding="utf-8"))
    members, metrics = data["task"], data.get("aggregate_metric_list") or [{}]
    if not all(isinstance(member, str) and ("task", member) in definitions() for member in members):
        raise ConfigError(
            f"Cannot run group {name!r}: it holds more than names of tasks. Name its tasks in a suite of your own."
        )
    return Group(members=tuple(members), by_size=bool(metrics[0].get("weight_by_size", True)))


def load_tasks(asked: Mapping[str, SuiteTask], *, data: Path | None, folder: Path) -> LoadedTasks:
    """Load tasks, each by its name in lm-eval.

    Args:
        asked: The tasks, with their entries in the suite.
        data: Folder of local data, of which no more than an entry's limit is read; None loads from the hub, whole.
        folder: Where to write; must outlive the tasks.

    Raises:
        TransientError: The hub does not answer, which says nothing about the task.
    """
    from lm_eval.tasks import TaskManager

    paths = {name: _include(name, local=data is not None) for name in asked}
    includes = {name: {"include": str(path), "task": name, "tag": []} for name, path in paths.items() if path}
    bundled = TaskManager(include_path=_write(folder / "bundled", includes), include_defaults=False).task_index
    loaded, wanted = LoadedTasks(), {}
    for name, entry in asked.items():
        try:
            if name not in bundled:
                raise _Absent("lm-eval defines no such task on the hub")
            source = {} if data is None else _local(entry, bundled[name].cfg, data / name, folder)
        except _Absent as error:
            loaded.absent[name] = str(error)
            continue
        shots = {} if entry.n_shot is None else {"num_fewshot": entry.n_shot}
        wanted[name] = includes[name] | source | shots
    manager = TaskManager(include_path=_write(folder / "wanted", wanted), include_defaults=False)
    for name in wanted:
        try:
            loaded.tasks[name] = manager.load(name)["tasks"][name]
        except Exception as error:  # whatever a definition imports, and whatever a file holds
            reason = f"{type(error).__name__}: {' '.join(str(error).split())}"
            if data is None and _is_network(error):
                raise TransientError(f"Cannot load task {name!r}: {reason}. Try again, or give local data.") from None
            loaded.absent[name] = f"lm-eval cannot load it: {reason}"
    return loaded


class _Absent(Exception):
    """Why a task cannot be had."""


def _is_network(error: Exception) -> bool:
    """Whether an answer failed to come; that there is no such data set is an answer."""
    failed = isinstance(error, OSError) and not isinstance(error, FileNotFoundError)
    return failed or type(error).__module__.startswith("httpx")


def _include(name: str, *, local: bool) -> Path | None:
    """The file that defines a task; of our own groups, where there is local data, the group's template."""
    path = definitions().get(("task", name))
    for group in _own_groups().values():
        if path is None and local and name in group.members and group.include:
            return definitions()["task", "arc_easy"].parents[1] / group.include
    return path


def _local(entry: SuiteTask, bundled: Mapping[str, Any], data: Path, folder: Path) -> dict[str, Any]:
    """The definition's keys that name another source of data."""
    splits = {path.name.split(".")[0]: path for path in sorted([*data.glob("*.jsonl"), *data.glob("*.jsonl.gz")])}
    if "class" in bundled:
        raise _Absent("lm-eval defines it as a program that reads the hub only")
    scored = [bundled[key] for key in ("test_split", "validation_split") if bundled.get(key)]
    split = next((split for split in scored if split in splits), None)
    if split is None:
        raise _Absent(f"no {' or '.join(scored)}.jsonl[.gz] in {data.name!r} of the local data")
    n_examples = (bundled.get("num_fewshot") or 0) if entry.n_shot is None else entry.n_shot
    if n_examples and bundled.get("fewshot_split", bundled.get("training_split")) not in splits:
        raise _Absent(f"no split to take {n_examples} solved examples from in {data.name!r} of the local data")
    if entry.limit is not None:
        splits[split] = _part(splits[split], entry.limit, folder / f"{data.name}.{split}.jsonl")
    return {
        "dataset_path": "json",
        "dataset_name": None,
        "dataset_kwargs": {
            "data_files": {name: str(path.resolve()) for name, path in splits.items()},
            "cache_dir": str(folder / "cache"),
        },
        **{key: None for key in _SPLITS if bundled.get(key) and bundled[key] not in splits},
    }


def _part(source: Path, limit: int, target: Path) -> Path:
    """A copy of a file of documents with some of its lines: loading a set whole costs more than asking a part."""
    try:
        with gzip.open(source) if source.suffix == ".gz" else source.open("rb") as file:
            lines = file.read().splitlines(keepends=True)
    except (OSError, EOFError, zlib.error) as error:
        raise _Absent(f"{source.name} in {source.parent.name!r} of the local data cannot be read: {error}") from None
    target.write_bytes(b"".join(lines[i] for i in spread(len(lines), limit)))
    return target


def spread(n: int, limit: int | None) -> list[int]:
    """At most `limit` of n documents, evenly over them."""
    n_kept = n if limit is None else min(n, limit)
    return [i * n // n_kept for i in range(n_kept)]


def _write(folder: Path, definitions_by_name: Mapping[str, Mapping[str, Any]]) -> str:
    """A folder with one file a definition."""
    folder.mkdir()
    for name, definition in definitions_by_name.items():
        (folder / f"{name}.yaml").write_text(json.dumps(definition), encoding="utf-8")  # JSON is YAML
    return str(folder)


def missing(absent: Mapping[str, str], required: Sequence[str], suite: str) -> str:
    """Why a suite cannot run, in one sentence; "" when nothing that it requires is absent."""
    names = [name for name in required if name in absent]
    if not names:
        return ""
    more = f" (and {len(names) - 1} more)" if len(names) > 1 else ""
    return f"Cannot run suite {suite!r}: no {names[0]!r}{more}: {absent[names[0]]}."
