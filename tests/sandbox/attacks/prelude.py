"""What the attacks share. Its text goes in front of an attack when a unit is made of it."""

from __future__ import annotations

import ctypes
import os
import time
from collections.abc import Callable, Iterator

Goal = dict[str, object]

_LIBC = ctypes.CDLL(None, use_errno=True)


def syscall(number: int, *arguments: object) -> int:
    """Call the kernel directly; a negative answer is minus the error's number."""
    values = [ctypes.c_long(a) if isinstance(a, int) else a for a in arguments]
    answer = _LIBC.syscall(ctypes.c_long(number), *values)
    return -ctypes.get_errno() if answer == -1 else int(answer)


def mark(goal: Goal) -> None:
    """Give this process the name by which the harness finds it and its children from outside."""
    _LIBC.prctl(15, str(goal["comm"]).encode(), 0, 0, 0)


def fork_sleeper(seconds: float, prepare: Callable[[], object] = lambda: None) -> int:
    """Fork a child that prepares itself and sleeps."""
    pid = os.fork()
    if pid == 0:
        try:
            prepare()
            time.sleep(seconds)
        finally:
            os._exit(0)
    return pid


def ancestors() -> Iterator[int]:
    """Process ids from the parent up, as far as this process sees them."""
    pid = os.getppid()
    for _ in range(8):
        if pid <= 0:
            return
        yield pid
        try:
            with open(f"/proc/{pid}/stat") as file:
                pid = int(file.read().rpartition(")")[2].split()[1])
        except OSError:
            return


def read_if_secret(path: str, goal: Goal) -> str:
    """The planted secret, if the file holds it; nothing else that it holds is ever kept."""
    try:
        with open(path, "rb") as file:
            text = file.read(1 << 20)
    except OSError:
        return ""
    secret = str(goal["secret"][::-1])  # type: ignore[index]
    return secret if secret.encode() in text else ""
