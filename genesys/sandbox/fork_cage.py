"""A cage whose children are forked from a warm server, so that a job starts in tens of milliseconds."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import platform
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import Any

from genesys.errors import ConfigError, FailureCause, JobFailed, TransientError
from genesys.sandbox import filesystem, kernel
from genesys.sandbox.frames import parse_answer
from genesys.sandbox.keeper import ANSWER_FILE, LOG_FILE, OUTCOME_FILE, REQUEST_FILE, Job
from genesys.sandbox.layers import Layer, Level, require
from genesys.sandbox.policy import Policy, has_gpu

CHECK_MODULES = ("genesys.checker.job",)
VERIFY_MODULES = ("deepspeed", "genesys.checker.job", "genesys.train.job", "genesys.evaluate.job")
_KEPT_VARIABLES = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "LD_LIBRARY_PATH", "CUDA_VISIBLE_DEVICES", "VIRTUAL_ENV")
_START_TIMEOUT_S = 120.0
_GRACE_S = 5.0


class ForkCage:
    """Runs jobs in confined children of a warm fork server. One event loop; `close` (or the owner's death) ends everything.

    Each layer of `genesys.sandbox.layers` that the host offers stands between a job and the machine. Not covered: bugs of
    the kernel, timing between jobs on one machine, a GPU's memory (CUDA shares a card as a whole), and what a job says:
    its answer is a claim.

    Args:
        preload: Modules that the server imports once.
        scratch: Folder under which each job gets a folder of its own, removed when it ends.
        require: The level below which no job is run.
        without: Layers to leave out, to see what they are good for.
    """

    def __init__(
        self,
        *,
        preload: Sequence[str] = VERIFY_MODULES,
        scratch: Path | None = None,
        require: Level = "standard",
        without: Collection[Layer] = (),
    ) -> None:
        self._preload, self._require, self._without = tuple(preload), require, tuple(without)
        self._scratch = Path(tempfile.mkdtemp(prefix="genesys-cage-", dir=scratch))
        self._scratch.chmod(0o711)  # a job that runs as another user passes through
        self._layers: Mapping[Layer, str] = {}
        self._server: subprocess.Popen[bytes] | None = None
        self._writer: asyncio.StreamWriter | None = None
        self._listener: asyncio.Task[None] | None = None
        self._starting = asyncio.Lock()
        self._ends: dict[int, asyncio.Future[None]] = {}
        self._pids: dict[int, int] = {}
        self._n_jobs = 0

    async def run(self, entry: str, request: Mapping[str, Any], policy: Policy) -> dict[str, Any]:
        """Run `package.module:function` on a request in a fresh child; see `Cage.run`.

        Raises:
            ConfigError: The host does not offer the layers that the required level demands.
        """
        deadline = time.monotonic() + policy.deadline_s
        await self._ensure_server()
        assert self._writer is not None
        self._n_jobs += 1
        number, folder = self._n_jobs, self._scratch / f"job-{self._n_jobs}"
        for path in (folder, folder / "root", folder / "scratch"):
            path.mkdir(mode=0o711)
        try:
            (folder / REQUEST_FILE).write_text(json.dumps(request))
            job = Job(number=number, entry=entry, folder=str(folder), policy=policy, deadline=deadline)
            await self._finish_job(job)
            return _read_outcome(job)
        finally:
            filesystem.remove_tree(folder)

    async def layers(self) -> Mapping[Layer, str]:
        """Every layer with the reason why it is not in force on this host, "" if it is."""
        await self._ensure_server()
        return self._layers

    async def start(self) -> None:
        """Start the server now rather than at the first job."""
        await self._ensure_server()

    def close(self) -> None:
        """End the server and every job; idempotent."""
        self._end_server()
        filesystem.remove_tree(self._scratch)

    def _end_server(self) -> None:
        if self._listener is not None:
            self._listener.cancel()
        if self._writer is not None:
            with contextlib.suppress(OSError):  # at once: the transport would close it in the loop's next turn
                self._writer.get_extra_info("socket").shutdown(socket.SHUT_RDWR)
            self._writer.transport.abort()  # the server ends its jobs when its socket closes
        if self._server is not None:
            _end(self._server)
        self._server = self._writer = self._listener = None

    async def __aenter__(self) -> ForkCage:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    async def _finish_job(self, job: Job) -> None:
        """Send a job to the server and wait for its end; the keeper heeds the deadline, we do if it cannot."""
        ended = self._ends[job.number] = asyncio.get_running_loop().create_future()
        assert self._writer is not None
        self._writer.write(json.dumps(asdict(job)).encode() + b"\n")
        try:
            await asyncio.wait_for(ended, max(0.0, job.deadline - time.monotonic()) + _GRACE_S)
        except TimeoutError:
            raise JobFailed("timeout", f"{job.entry} ran over its deadline, and its keeper did not end it") from None
        finally:
            self._ends.pop(job.number, None)
            self._cancel(job.number)

    async def _ensure_server(self) -> None:
        async with self._starting:
            if self._server is not None and self._server.poll() is None:
                return
            if not kernel.supported():
                raise ConfigError(
                    f"Cannot run designs on {sys.platform} ({platform.machine()}): the cage needs Linux on x86-64 or arm64. "
                    f"Use a container or a virtual machine."
                )
            ours, theirs = socket.socketpair()
            folder = Path(tempfile.mkdtemp(prefix="server-", dir=self._scratch))
            folder.chmod(0o711)
            arguments = [str(theirs.fileno()), str(folder), ",".join(self._without), *self._preload]
            with theirs, (folder / "server.log").open("ab") as log:
                self._server = subprocess.Popen(
                    [sys.executable, "-P", "-m", "genesys.sandbox.server", *arguments],
                    pass_fds=[theirs.fileno()],
                    env=child_environment(),
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    stderr=log,
                    start_new_session=True,
                )
            try:
                await self._greet(ours, folder)
            except BaseException:  # such a server is to run no job, of a later call neither
                self._end_server()
                raise

    async def _greet(self, ours: socket.socket, folder: Path) -> None:
        """Hear which layers the server found, and listen to it if they are enough."""
        reader, self._writer = await asyncio.open_connection(sock=ours)
        ready = await asyncio.wait_for(reader.readline(), _START_TIMEOUT_S)
        if not ready:
            log = (folder / "server.log").read_text()[-2000:]
            raise TransientError(f"Cannot start the fork server: it ended while importing.\n{log}")
        self._layers = json.loads(ready)["layers"]
        require(self._require, self._layers)
        self._listener = asyncio.create_task(self._listen(reader))

    async def _listen(self, reader: asyncio.StreamReader) -> None:
        with contextlib.suppress(ConnectionError):  # a server that is killed with a request unread resets it
            while line := await reader.readline():
                message = json.loads(line)
                job = message["job"]
                if "pid" in message:
                    self._pids[job] = message["pid"]
                    if job not in self._ends:  # its caller has given up already
                        self._cancel(job)
                    continue
                self._pids.pop(job, None)
                self._finish(job)
        # The server died, and its children with it. Its sockets close before it can be waited for, so that `poll` may
        # still call it alive when the next job comes: it is given up here, before its jobs end.
        self._server, server = None, self._server
        if server is not None:
            server.kill()
            server.wait()
        for job in list(self._ends):
            self._finish(job)

    def _finish(self, job: int) -> None:
        ended = self._ends.pop(job, None)
        if ended is not None and not ended.done():
            ended.set_result(None)

    def _cancel(self, job: int) -> None:
        """Have the keeper of a job end it; nothing to do when it has ended."""
        pid = self._pids.pop(job, None)
        if pid is not None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGTERM)


async def open_cage(level: Level) -> Mapping[Layer, str]:
    """Open a cage on this host and close it again; gives its layers, see `Cage.layers`.

    Raises:
        ConfigError: The host does not offer the layers that the level demands.
    """
    async with ForkCage(preload=(), require=level) as cage:
        return await cage.layers()


_LIMITS: Mapping[str, tuple[FailureCause, str]] = {
    "deadline": ("timeout", "ran over its deadline of {policy.deadline_s:g} s"),
    "cpu": ("timeout", "used more than {policy.cpu_s:g} s of CPU"),
    "memory": ("out-of-memory", "used more than {policy.memory_mb} MiB of memory"),
    "answer": ("over-limit", "answered without end"),
    "scratch": ("over-limit", "wrote more than {policy.scratch_mb} MiB of files"),
    "scratch files": ("over-limit", "wrote more than {policy.n_scratch_files} files"),
    "cancelled": ("killed", "was ended"),
}


def _read_outcome(job: Job) -> dict[str, Any]:
    """The answer of a job that has ended, from the files of its keeper."""
    folder = Path(job.folder)
    try:
        outcome = json.loads((folder / OUTCOME_FILE).read_text())
    except OSError:
        raise JobFailed("killed", f"{job.entry} was lost: its server or its keeper was killed") from None
    limit, code = outcome["ended_by"], outcome["code"]
    if limit == "infrastructure":
        raise JobFailed("infrastructure", f"{job.entry} was not run: {outcome['message']}")
    if limit:
        cause, what = _LIMITS[limit]
        raise JobFailed(cause, f"{job.entry} {what.format(policy=job.policy)}")
    answer = (folder / ANSWER_FILE).read_bytes()
    if answer:
        return parse_answer(answer, job.entry)
    log = (folder / LOG_FILE).read_text(errors="replace")[-1000:]
    raise JobFailed(
        "killed" if code in (-signal.SIGKILL, -signal.SIGTERM) else "error",
        f"{job.entry} ended with code {code} and no answer. {log}".strip(),
    )


def _end(server: subprocess.Popen[bytes]) -> None:
    try:
        server.wait(_GRACE_S)
    except subprocess.TimeoutExpired:
        server.kill()
        server.wait()


def child_environment() -> dict[str, str]:
    """What a child may know of our environment: no Ray address, no keys; one thread until it asks for more."""
    kept = {name: os.environ[name] for name in _KEPT_VARIABLES if name in os.environ}
    root = str(Path(__file__).resolve().parents[2])
    return kept | {
        "PYTHONPATH": root,
        "PYTHONHASHSEED": "0",
        "OMP_NUM_THREADS": "1",
        "OPENBLAS_NUM_THREADS": "1",
        "MKL_NUM_THREADS": "1",
        "TOKENIZERS_PARALLELISM": "false",
        "DS_ACCELERATOR": "cuda" if has_gpu() else "cpu",
    }
