"""A warm process that forks each job from itself, so that a job starts in tens of milliseconds.

Started by `genesys.sandbox.fork_cage` as `python -P -m genesys.sandbox.server FD FOLDER WITHOUT MODULE...`: it imports the
modules once, tries which layers this host offers, says so, and then speaks JSON lines over the socket FD. It holds one
thread and runs no torch operation, so that a fork of it is sound. Trusted code: it never runs a job itself. It ends, and
its jobs with it, when the other end of the socket closes.
"""

from __future__ import annotations

import contextlib
import errno
import gc
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

from genesys.errors import ConfigError, FailureCause, JobFailed
from genesys.sandbox import kernel
from genesys.sandbox.cgroups import Group, sweep
from genesys.sandbox.confinement import probe
from genesys.sandbox.keeper import keep
from genesys.sandbox.layers import Layer


class _Server:
    """Gives each request to a keeper that was forked ahead, and reports each keeper's end."""

    def __init__(self, connection: socket.socket, layers: frozenset[Layer]) -> None:
        self._connection, self._layers = connection, layers
        self._deaths, self._wake = os.pipe()  # a byte for each SIGCHLD
        self._ends, self._end = os.pipe()  # eight bytes from each keeper that is done
        os.set_blocking(self._wake, False)
        signal.set_wakeup_fd(self._wake, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        self._asked_to_end: list[int] = []
        signal.signal(signal.SIGTERM, lambda number, _: self._asked_to_end.append(number))  # the owner is dead
        self._jobs: dict[int, int] = {}  # pid of the keeper -> job number
        self._spare: tuple[int, int] | None = None  # pid, and where its job is written

    def serve(self) -> None:
        """Go on until the connection closes."""
        buffer, heard = b"", select.poll()  # not select(): an owner with many open files hands us a high number
        for fd in (self._connection.fileno(), self._deaths, self._ends):
            heard.register(fd, select.POLLIN)
        while True:
            if self._spare is None:
                self._spare = self._fork_keeper()
            readable = [fd for fd, _ in heard.poll()]
            if self._asked_to_end:  # before anything is said to the owner: groups that are left nobody removes
                return self._end_all()
            if self._ends in readable:
                self._report(int.from_bytes(os.read(self._ends, 8), "big"))
            if self._deaths in readable:
                os.read(self._deaths, 4096)
                self._reap()
            if self._connection.fileno() in readable:
                data = self._connection.recv(65536)
                if not data:
                    return self._end_all()
                *lines, buffer = (buffer + data).split(b"\n")
                for line in lines:
                    self._start(line)

    def _fork_keeper(self) -> tuple[int, int]:
        assert len(os.listdir("/proc/self/task")) == 1, "the fork server must hold one thread"
        job_read, job_write = os.pipe()
        pid = os.fork()
        if pid == 0:
            self._connection.close()
            for fd in (self._deaths, self._wake, self._ends, job_write):
                os.close(fd)
            keep(job_read, self._end, self._layers, _answer)
        os.close(job_read)
        return pid, job_write

    def _start(self, line: bytes) -> None:
        pid, pipe = self._spare or self._fork_keeper()
        self._spare = None
        number = json.loads(line)["number"]
        self._jobs[pid] = number
        _send(self._connection, {"job": number, "pid": pid})
        with contextlib.suppress(BrokenPipeError), open(pipe, "wb") as file:  # a killed keeper is reaped
            file.write(line)

    def _report(self, pid: int) -> None:
        if pid in self._jobs:
            _send(self._connection, {"job": self._jobs.pop(pid), "ended": True})

    def _reap(self) -> None:
        with contextlib.suppress(ChildProcessError):
            while (pid := os.waitpid(-1, os.WNOHANG)[0]) != 0:
                self._report(pid)
                if "cgroup" in self._layers:
                    _end_group(Group.of(pid))
                if self._spare is not None and self._spare[0] == pid:
                    os.close(self._spare[1])
                    self._spare = None

    def _end_all(self) -> None:
        if self._spare is not None:
            os.close(self._spare[1])  # a spare whose pipe ends goes by itself
        for pid in self._jobs:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)
        while True:
            try:
                pid, _ = os.wait()
            except ChildProcessError:
                return
            if "cgroup" in self._layers:
                _end_group(Group.of(pid))


def _end_group(group: Group) -> None:
    """Delete the group of a keeper that is gone; of one that was killed, kill the job first."""
    for pid in group.pids():
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    group.remove()


def _answer(entry: str, request: dict[str, Any]) -> bytes:
    """Run the entry, in the confined child, and give its frame."""
    try:
        return json.dumps(_call(entry, request)).encode()
    except BaseException:  # an exception of the design's may raise when it is printed, an answer hold what is no JSON
        return b'{"cause": "error", "message": "what the job has to say cannot be written down"}'


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
        return {"cause": _cause(error), "message": f"{type(error).__name__}: {error}"[:2000]}


def _cause(error: BaseException) -> FailureCause:
    """Shards that are gone are the host's fault; a limit that was met, or an error in a unit, is the design's."""
    if isinstance(error, OSError) and error.errno in (errno.EMFILE, errno.EFBIG):
        return "over-limit"
    return "infrastructure" if isinstance(error, (OSError, ConfigError)) and not _raised_in_unit(error) else "error"


def _raised_in_unit(error: BaseException) -> bool:
    frames = (frame.f_code.co_filename for frame, _ in traceback.walk_tb(error.__traceback__))
    return any(name.startswith("<unit ") for name in frames)


def _send(connection: socket.socket, message: dict[str, Any]) -> None:
    with contextlib.suppress(ConnectionError):  # the owner is gone; the loop is about to see it
        connection.sendall(json.dumps(message).encode() + b"\n")


def main(argv: list[str]) -> None:
    """Import the modules named last, try the layers, then serve."""
    descriptor, folder, without, *modules = argv
    connection = socket.socket(fileno=int(descriptor))
    for module in modules:
        importlib.import_module(module)
    gc.collect()
    gc.freeze()  # a collection in a child would touch, and so copy, every page that it shares with this process
    layers = probe(Path(folder), frozenset(filter(None, without.split(","))))
    if not layers["cgroup"]:
        sweep()
    _send(connection, {"layers": layers})
    kernel.prctl(kernel.PR_SET_PDEATHSIG, signal.SIGTERM)
    _Server(connection, frozenset(layer for layer, reason in layers.items() if not reason)).serve()


if __name__ == "__main__":
    main(sys.argv[1:])
