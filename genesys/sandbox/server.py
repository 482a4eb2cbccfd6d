"""A warm process that forks each job from itself, so that a job starts in tens of milliseconds.

Started by `genesys.sandbox.fork_cage` as `python -P -m genesys.sandbox.server FD FOLDER WITHOUT MODULE...`: it imports the
modules once, tries which layers this host offers, says so, and then speaks JSON lines over the socket FD. It holds one
thread and runs no torch operation, so that a fork of it is sound. Trusted code: it never runs a job itself. It ends, and
its jobs with it, when the other end of the socket closes.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import select
import signal
import socket
import sys
import traceback
from pathlib import Path
from typing import Any

from genesys.errors import ConfigError, JobFailed
from genesys.sandbox import kernel
from genesys.sandbox.confinement import probe
from genesys.sandbox.keeper import Job, keep
from genesys.sandbox.layers import Layer


def serve(connection: socket.socket, layers: frozenset[Layer]) -> None:
    """Fork a keeper for each request line, report each keeper's end, until the connection closes."""
    wake_read, wake_write = os.pipe()
    os.set_blocking(wake_write, False)
    signal.set_wakeup_fd(wake_write, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    jobs: dict[int, int] = {}  # pid of the keeper -> job number
    buffer = b""
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
                _start(connection, jobs, Job.from_json(json.loads(line)), layers, (wake_read, wake_write))
    _end_all(jobs)


def _start(
    connection: socket.socket, jobs: dict[int, int], job: Job, layers: frozenset[Layer], pipes: tuple[int, int]
) -> None:
    assert len(os.listdir("/proc/self/task")) == 1, "the fork server must hold one thread"
    pid = os.fork()
    if pid == 0:
        connection.close()
        for fd in pipes:
            os.close(fd)
        keep(job, layers, _answer)
    jobs[pid] = job.number
    _send(connection, {"job": job.number, "pid": pid})


def _report_ends(connection: socket.socket, jobs: dict[int, int]) -> None:
    while jobs:
        pid, _ = os.waitpid(-1, os.WNOHANG)
        if pid == 0:
            return
        _send(connection, {"job": jobs.pop(pid), "ended": True})


def _end_all(jobs: dict[int, int]) -> None:
    for pid in jobs:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGTERM)
    for pid in jobs:
        with contextlib.suppress(ChildProcessError):
            os.waitpid(pid, 0)


def _answer(entry: str, request: dict[str, Any]) -> bytes:
    """Run the entry, in the confined child, and give its frame."""
    return json.dumps(_call(entry, request)).encode()


def _call(entry: str, request: dict[str, Any]) -> dict[str, Any]:
    module, _, function = entry.partition(":")
    try:
        return {"answer": getattr(importlib.import_module(module), function)(request)}
    except JobFailed as failure:
        return {"cause": failure.cause, "message": str(failure)}
    except MemoryError as error:
        return {"cause": "out-of-memory", "message": str(error) or "out of memory"}
    except BaseException as error:  # generated code may raise anything, SystemExit included
        traceback.print_exc()
        # a full disk or shards that are gone are the host's fault, unless a unit opened the file
        ours = isinstance(error, (OSError, ConfigError)) and not _raised_in_unit(error)
        message = f"{type(error).__name__}: {error}"[:2000]
        return {"cause": "infrastructure" if ours else "error", "message": message}


def _raised_in_unit(error: BaseException) -> bool:
    frames = (frame.f_code.co_filename for frame, _ in traceback.walk_tb(error.__traceback__))
    return any(name.startswith("<unit ") for name in frames)


def _send(connection: socket.socket, message: dict[str, Any]) -> None:
    connection.sendall(json.dumps(message).encode() + b"\n")


def main(argv: list[str]) -> None:
    """Import the modules named last, try the layers, then serve."""
    descriptor, folder, without, *modules = argv
    connection = socket.socket(fileno=int(descriptor))
    for module in modules:
        importlib.import_module(module)
    layers = probe(Path(folder), frozenset(filter(None, without.split(","))))
    _send(connection, {"layers": layers})
    if kernel.supported():
        kernel.prctl(kernel.PR_SET_PDEATHSIG, signal.SIGTERM)
    serve(connection, frozenset(layer for layer, reason in layers.items() if not reason))


if __name__ == "__main__":
    main(sys.argv[1:])
