"""Control groups: limits on the memory and the number of processes of a whole job, version 2 or 1.

Used where this user may make groups below its own; elsewhere the watchdog takes over.
"""

from __future__ import annotations

import contextlib
import os
import time
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from genesys.sandbox.policy import Policy

_MB = 1 << 20
_PREFIX = "genesys-"
_REMOVE_TIMEOUT_S = 1.0


@dataclass(frozen=True, slots=True)
class Group:
    """One job's control group; a folder for each hierarchy."""

    folders: tuple[Path, ...]

    @classmethod
    def of(cls, keeper: int) -> Group:
        """The group of the job of a keeper with this process id, made or not.

        Raises:
            OSError: No groups can be made here.
        """
        return cls(tuple(parent / f"{_PREFIX}{keeper}" for parent in _parents()[1]))

    def create(self) -> None:
        """Make the group."""
        for folder in self.folders:
            folder.mkdir()

    def limit(self, policy: Policy) -> None:
        """Set a policy's limits; the keeper itself stands in the group too."""
        memory, pids = str(policy.memory_mb * _MB), str(policy.n_processes + 1)
        if _parents()[0] == 2:
            (self.folders[0] / "memory.max").write_text(memory)
            (self.folders[0] / "pids.max").write_text(pids)
            with contextlib.suppress(OSError):  # a kernel without swap accounting
                (self.folders[0] / "memory.swap.max").write_text("0")
            return
        (self.folders[0] / "memory.limit_in_bytes").write_text(memory)
        (self.folders[1] / "pids.max").write_text(pids)
        with contextlib.suppress(OSError):
            (self.folders[0] / "memory.memsw.limit_in_bytes").write_text(memory)

    def enter(self) -> None:
        """Move this process into the group; its children are born there."""
        for folder in self.folders:
            (folder / "cgroup.procs").write_text("0")

    def leave(self) -> None:
        """Move this process into the group above."""
        for folder in self.folders:
            (folder.parent / "cgroup.procs").write_text("0")

    def pids(self) -> list[int]:
        """The processes in the group."""
        return [int(line) for line in _read(self.folders[-1] / "cgroup.procs").split()]

    def ran_out_of_memory(self) -> bool:
        """Whether the kernel killed a process of the group for its memory."""
        for folder in self.folders:
            for name in ("memory.events", "memory.oom_control"):
                words = _read(folder / name).split()
                if "oom_kill" in words and words[words.index("oom_kill") + 1] != "0":
                    return True
        return False

    def remove(self) -> None:
        """Delete the group, if it is there; its processes must be dead or dying."""
        deadline = time.monotonic() + _REMOVE_TIMEOUT_S
        for folder in self.folders:
            while folder.exists() and time.monotonic() < deadline:
                with contextlib.suppress(OSError):
                    folder.rmdir()
                    break
                time.sleep(0.005)


def sweep() -> None:
    """Delete the groups that keepers left behind when they and their server were killed."""
    for parent in _parents()[1]:
        for folder in parent.glob(f"{_PREFIX}*"):
            if not Path("/proc", folder.name.removeprefix(_PREFIX)).exists():
                with contextlib.suppress(OSError):
                    folder.rmdir()


@lru_cache(maxsize=1)
def _parents() -> tuple[int, tuple[Path, ...]]:
    """The version in use and the folders below which this process may make groups.

    Raises:
        OSError: Neither version offers both controllers to this user.
    """
    own = [line.split(":", 2) for line in _read(Path("/proc/self/cgroup")).splitlines()]
    mounts = [line.split() for line in _read(Path("/proc/mounts")).splitlines()]
    for root in (Path(words[1]) for words in mounts if words[2] == "cgroup2"):
        parent = _existing(root, next((path for _, controllers, path in own if not controllers), "/"))
        if {"memory", "pids"} <= set(_read(parent / "cgroup.subtree_control").split()) and os.access(parent, os.W_OK):
            return 2, (parent,)
    found: list[Path] = []
    for controller in ("memory", "pids"):
        roots = (Path(words[1]) for words in mounts if words[2] == "cgroup" and controller in words[3].split(","))
        paths = (path for _, controllers, path in own if controller in controllers.split(","))
        parents = [_existing(root, path) for root, path in zip(roots, paths, strict=False)]
        if not parents or not os.access(parents[0], os.W_OK):
            raise OSError(f"no writable control group offers the {controller} controller")
        found.append(parents[0])
    return 1, tuple(found)


def _existing(root: Path, below: str) -> Path:
    """The folder of a group; in a container its path may be told from outside, where only the root is seen."""
    path = root / below.lstrip("/")
    return path if path.is_dir() else root


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""
