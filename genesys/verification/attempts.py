"""The folders of the attempts at one verification: each lease has one to itself, and goes on from what the last one left.

A holder that was paused, or given up, may wake up beside the next one, with a training that still writes. It can reach
nothing of the next one's: its child's paths are bound to its own folder, and the books refuse its lease.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path

from genesys.verification.progress import TRAINING_FOLDER
from genesys.verification.report import REPORT_FILE

_PREFIX = "lease-"
_NOT_KEPT = ("progress.jsonl",)
"""Files that a training appends to: carried over, two of them would write to one file."""
_TRIES = 5


def attempt_folder(root: Path, lease: int) -> Path:
    """The folder of the attempt under a lease, there or not; `root` is the key's."""
    return root / f"{_PREFIX}{lease}"


def open_attempt(root: Path, lease: int) -> Path:
    """Make the folder of an attempt, with the training as far as the last attempt came, and remove the earlier ones.

    Safe against a kill at any point, after which the next lease does the same.
    """
    folder = attempt_folder(root, lease)
    folder.mkdir(parents=True, exist_ok=True)
    earlier = [path for path in attempts(root) if _lease(path) < lease]
    last = next((path for path in earlier if (path / TRAINING_FOLDER).is_dir()), None)  # one killed at once has none
    if last is not None and not (folder / TRAINING_FOLDER).exists():
        _carry_over(last / TRAINING_FOLDER, folder / TRAINING_FOLDER)
    for path in earlier:
        shutil.rmtree(path, ignore_errors=True)
    return folder


def drop_attempt(root: Path, lease: int) -> None:
    """Remove an attempt that came too late, unless it is the last: then the next lease goes on from it."""
    if any(_lease(path) > lease for path in attempts(root)):
        shutil.rmtree(attempt_folder(root, lease), ignore_errors=True)


def reported_attempt(root: Path) -> Path | None:
    """The folder of the last attempt that left a report."""
    return next((path for path in attempts(root) if (path / REPORT_FILE).is_file()), None)


def attempts(root: Path) -> list[Path]:
    """The folders of a key's attempts, the last one first."""
    found = (path for path in root.glob(f"{_PREFIX}*") if path.name.removeprefix(_PREFIX).isdigit())
    return sorted(found, key=_lease, reverse=True)


def _lease(folder: Path) -> int:
    return int(folder.name.removeprefix(_PREFIX))


def _carry_over(training: Path, to: Path) -> None:
    """Link a training's whole files under another folder; what is being written (a dot before its name) stays.

    Generated code could write there and may still: folders are walked by descriptor, links are neither followed nor
    taken along, and what is not a plain file is left out. While checkpoints come and go there it is tried again, since
    half of one would be taken for a whole one; a training that never rests is left, and this attempt starts afresh.
    """
    partial = to.with_name(f".{to.name}-partial")
    for _ in range(_TRIES):
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir()
        before = _whole(training)
        for name, descriptor, files in _plain_files(training):
            target = partial / name
            target.mkdir(exist_ok=True)
            for file in files:
                with contextlib.suppress(FileNotFoundError):  # its writer has moved on
                    os.link(file, target / file, src_dir_fd=descriptor, follow_symlinks=False)
        if _whole(training) == before:
            os.rename(partial, to)
            return
    shutil.rmtree(partial, ignore_errors=True)


def _whole(folder: Path) -> set[str]:
    """The names in a folder of what is not being written; none where there is no such folder."""
    try:
        return {name for name in os.listdir(folder) if not name.startswith(".")}
    except OSError:
        return set()


def _plain_files(folder: Path) -> Iterator[tuple[str, int, list[str]]]:
    """Each folder below one, parents first: its path from there, an open descriptor, and its plain files' names."""
    if not folder.is_dir() or folder.is_symlink():
        return
    for path, folders, names, descriptor in os.fwalk(folder, follow_symlinks=False):
        folders[:] = [name for name in folders if not name.startswith(".")]
        plain = [name for name in names if not name.startswith(".") and name not in _NOT_KEPT]
        yield os.path.relpath(path, folder), descriptor, [name for name in plain if _is_plain(name, descriptor)]


def _is_plain(name: str, descriptor: int) -> bool:
    try:
        return stat.S_ISREG(os.stat(name, dir_fd=descriptor, follow_symlinks=False).st_mode)
    except FileNotFoundError:
        return False
