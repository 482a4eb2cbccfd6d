"""A warm process that forks a child for each job.

Started by `genesys.sandbox.fork_cage` as `python -m genesys.sandbox.server FD MODULE...`; it imports the modules once
and then speaks JSON lines over the socket FD. It holds one thread and runs no torch operation, so that a fork of it
is sound. It ends, and its children with it, when the other end of the socket closes.

Does not protect against hostile code yet: a child has a group of its own, a scrubbed environment and a deadline, but
the file system and the network of its user.
"""

from __future__ import annotations

import contextlib
import ctypes
import importlib
import json
import os
import select
import signal
import socket
import sys
import traceback
from pathlib import Path
from typing import Any, NoReturn

from genesys.errors import ConfigError, JobFailed

_PR_SET_PDEATHSIG = 1


def serve(connection: socket.socket) -> None:
    """Fork a child for each request line, report each child's end, until the connection closes."""
    wake_read, wake_write = os.pipe()
    os.set_blocking(wake_write, False)
    signal.set_wakeup_fd(wake_write, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    jobs: dict[int, int] = {}  # pid -> job number
    buffer = b""
    connection.sendall(b'{"ready": true}\n')
    while True:
        readable, _, _ = select.select([connection.fileno(), wake_read], [], [])
        if wake_read in readable:
            os.read(wake_read, 4096)
            _report_ends(connection, jobs)
        if connection.fileno() in readable:
            data = connection.recv(65536)
            if not data:
                break
            *lines, buffer = (buffer + data).split(b"\n")
            for line in lines:
                _start(connection, jobs, json.loads(line), (wake_read, wake_write))
    for pid in jobs:
        _kill_group(pid)


def _start(connection: socket.socket, jobs: dict[int, int], job: dict[str, Any], pipes: tuple[int, int]) -> None:
    assert len(os.listdir("/proc/self/task")) == 1, "the fork server must hold one thread"
    pid = os.fork()
    if pid == 0:
        connection.close()
        for fd in pipes:
            os.close(fd)
        _run_child(job)
    jobs[pid] = job["job"]
    _send(connection, {"job": job["job"], "pid": pid})


def _report_ends(connection: socket.socket, jobs: dict[int, int]) -> None:
    while jobs:
        pid, status = os.waitpid(-1, os.WNOHANG)
        if pid == 0:
            return
        _kill_group(pid)  # whatever the child itself started
        _send(connection, {"job": jobs.pop(pid), "exit": os.waitstatus_to_exitcode(status)})


def _run_child(job: dict[str, Any]) -> NoReturn:
    try:
        os.setsid()
        die_with_parent()
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        folder = Path(job["folder"])
        log = os.open(folder / "log.txt", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        for fd in (1, 2):
            os.dup2(log, fd)
        os.chdir(folder)
        answer = _call(job["entry"], json.loads((folder / "request.json").read_text()))
        temporary = folder / "answer.tmp"
        temporary.write_text(json.dumps(answer))
        temporary.rename(folder / "answer.json")
        sys.stdout.flush()
        sys.stderr.flush()
    finally:
        os._exit(0)


def _call(entry: str, request: dict[str, Any]) -> dict[str, Any]:
    module, _, function = entry.partition(":")
    try:
        return {"answer": getattr(importlib.import_module(module), function)(request)}
    except JobFailed as failure:
        return {"cause": failure.cause, "message": str(failure)}
    except (OSError, ConfigError) as error:  # a full disk, shards that are gone: the host's fault, not the design's
        traceback.print_exc()
        return {"cause": "infrastructure", "message": f"{type(error).__name__}: {error}"[:2000]}
    except MemoryError as error:
        return {"cause": "out-of-memory", "message": str(error) or "out of memory"}
    except BaseException as error:  # generated code may raise anything, SystemExit included
        traceback.print_exc()
        return {"cause": "error", "message": f"{type(error).__name__}: {error}"[:2000]}


def die_with_parent() -> None:
    """Ask the kernel to kill this process when its parent dies (Linux; elsewhere nothing happens)."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _kill_group(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)


def _send(connection: socket.socket, message: dict[str, Any]) -> None:
    connection.sendall(json.dumps(message).encode() + b"\n")


def main(argv: list[str]) -> None:
    """Import the modules named after FD, then serve."""
    connection = socket.socket(fileno=int(argv[0]))
    for module in argv[1:]:
        importlib.import_module(module)
    serve(connection)


if __name__ == "__main__":
    main(sys.argv[1:])
