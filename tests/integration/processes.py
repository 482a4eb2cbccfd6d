"""The command as a process, and the processes below it."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil

from genesys.api import Run

ROOT = Path(__file__).parents[2]


def start(*arguments: str, cwd: Path, output: Any = subprocess.PIPE) -> subprocess.Popen[str]:
    """The command in a process group of its own, as a terminal would start it."""
    command = [sys.executable, "-m", "genesys", *arguments]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    return subprocess.Popen(
        command, cwd=cwd, env=environment, stdout=output, stderr=subprocess.STDOUT, text=True, process_group=0,
    )  # fmt: skip


def start_into(log: Path, *arguments: str, cwd: Path) -> subprocess.Popen[str]:
    """The command with its output in a file, which nobody need read while it runs."""
    with log.open("w") as file:
        return start(*arguments, cwd=cwd, output=file)


def finish(process: subprocess.Popen[str], timeout_s: float = 300.0) -> str:
    output, _ = process.communicate(timeout=timeout_s)
    return output


def n_verified(folder: Path) -> int:
    """Designs verified in a run so far, over all scales; 0 before it begins."""
    if not (folder / "journal.sqlite").exists():
        return 0
    tree = Run(folder).tree
    return sum(tree.ledger.account(scale).committed for scale in tree.scales) if tree.run else 0


def wait_until_verified(folder: Path, n: int, process: subprocess.Popen[str], timeout_s: float = 200.0) -> None:
    deadline = time.monotonic() + timeout_s
    while n_verified(folder) < n:
        assert process.poll() is None, finish(process)
        assert time.monotonic() < deadline, "nothing was verified in time"
        time.sleep(0.2)


def actor_processes(kind: str, parent: psutil.Process) -> list[psutil.Process]:
    """The worker processes below `parent` that serve an actor of that class; one that ends meanwhile is none."""
    return [process for process in descendants(parent) if is_actor(process, kind)]


def is_actor(process: psutil.Process, kind: str) -> bool:
    try:
        return any(part.startswith(f"ray::{kind}") for part in process.cmdline())
    except (psutil.NoSuchProcess, psutil.AccessDenied):
        return False


def descendants(parent: psutil.Process) -> list[psutil.Process]:
    """Every process below one; none when it has ended."""
    try:
        return parent.children(recursive=True)
    except psutil.NoSuchProcess:
        return []
