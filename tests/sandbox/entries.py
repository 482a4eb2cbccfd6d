"""Entries that the cage's tests run in children."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import time
from pathlib import Path
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


def sleep_with_child(request: dict[str, Any]) -> dict[str, Any]:
    child = subprocess.Popen(["sleep", "60"])
    partial = Path(request["pid_file"] + ".part")
    partial.write_text(str(child.pid))
    partial.rename(request["pid_file"])
    return sleep(request)
