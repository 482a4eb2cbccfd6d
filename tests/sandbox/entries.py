"""Entries that the cage's tests run in children."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import time
from typing import Any

from genesys.errors import JobFailed


def echo(request: dict[str, Any]) -> dict[str, Any]:
    print("whatever a job prints is no answer")
    return request


def environment(_: dict[str, Any]) -> dict[str, Any]:
    return {"names": sorted(os.environ)}


def raise_value_error(_: dict[str, Any]) -> dict[str, Any]:
    raise ValueError("nonsense")


def raise_system_exit(_: dict[str, Any]) -> dict[str, Any]:
    raise SystemExit(0)


def raise_memory_error(_: dict[str, Any]) -> dict[str, Any]:
    raise MemoryError


def raise_job_failed(_: dict[str, Any]) -> dict[str, Any]:
    raise JobFailed("non-finite", "loss is nan")


def segfault(_: dict[str, Any]) -> dict[str, Any]:
    ctypes.string_at(0)
    return {}


def kill_itself(_: dict[str, Any]) -> dict[str, Any]:
    os.kill(os.getpid(), signal.SIGKILL)
    return {}


def sleep(_: dict[str, Any]) -> dict[str, Any]:
    time.sleep(60)
    return {}


def sleep_with_children(_: dict[str, Any]) -> dict[str, Any]:
    """Refuse to die: ignore every signal, start children that do so too, one of them orphaned, and stay."""
    for number in set(signal.Signals) - {signal.SIGKILL, signal.SIGSTOP}:
        signal.signal(number, signal.SIG_IGN)
    if os.fork() == 0 and os.fork() == 0:
        with contextlib.suppress(OSError):
            os.setsid()
        time.sleep(60)
    return sleep({})
