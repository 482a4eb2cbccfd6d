"""A cage whose children are forked from a warm server, so that a job starts in tens of milliseconds."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from genesys.errors import CAUSES, FailureCause, JobFailed, TransientError
from genesys.sandbox.policy import Policy

CHECK_MODULES = ("genesys.checker.job",)
VERIFY_MODULES = ("deepspeed", "genesys.checker.job", "genesys.train.job", "genesys.evaluate.job")
_KEPT_VARIABLES = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "LD_LIBRARY_PATH", "CUDA_VISIBLE_DEVICES", "VIRTUAL_ENV")
_START_TIMEOUT_S = 120.0


class ForkCage:
    """Runs jobs in children of a warm fork server. One event loop; `close` (or the owner's death) ends everything.

    Does not yet confine the file system and the network: see `genesys.sandbox.server`.

    Args:
        preload: Modules that the server imports once.
        scratch: Folder under which each job gets a folder of its own, removed after a success.
    """

    def __init__(self, *, preload: Sequence[str] = VERIFY_MODULES, scratch: Path | None = None) -> None:
        self._preload = tuple(preload)
        self._scratch = Path(tempfile.mkdtemp(prefix="genesys-cage-", dir=scratch))
        self._server: subprocess.Popen[bytes] | None = None
        self._writer: asyncio.StreamWriter | None = None
        self._listener: asyncio.Task[None] | None = None
        self._starting = asyncio.Lock()
        self._ends: dict[int, asyncio.Future[int]] = {}
        self._pids: dict[int, int] = {}
        self._n_jobs = 0

    async def run(self, entry: str, request: Mapping[str, Any], policy: Policy) -> dict[str, Any]:
        """Run `package.module:function` on a request in a fresh child; see `Cage.run`."""
        await self._ensure_server()
        assert self._writer is not None
        self._n_jobs += 1
        job = self._n_jobs
        folder = self._scratch / f"job-{job}"
        folder.mkdir()
        (folder / "request.json").write_text(json.dumps(request))
        ended = self._ends[job] = asyncio.get_running_loop().create_future()
        self._writer.write(json.dumps({"job": job, "entry": entry, "folder": str(folder)}).encode() + b"\n")
        try:
            code = await asyncio.wait_for(ended, policy.deadline_s)
        except TimeoutError:
            raise JobFailed("timeout", f"{entry} ran over its deadline of {policy.deadline_s:.0f} s") from None
        finally:
            self._kill(job)
        answer = self._read_answer(entry, folder, code)
        shutil.rmtree(folder, ignore_errors=True)
        return answer

    async def start(self) -> None:
        """Start the server now rather than at the first job."""
        await self._ensure_server()

    def close(self) -> None:
        """End the server and every child; idempotent."""
        for job in list(self._pids):
            self._kill(job)
        if self._listener is not None:
            self._listener.cancel()
        if self._writer is not None:
            self._writer.close()
        if self._server is not None:
            self._server.kill()
            self._server.wait()
        self._server = self._writer = self._listener = None
        shutil.rmtree(self._scratch, ignore_errors=True)

    async def __aenter__(self) -> ForkCage:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    async def _ensure_server(self) -> None:
        async with self._starting:
            if self._server is not None and self._server.poll() is None:
                return
            ours, theirs = socket.socketpair()
            self._server = subprocess.Popen(
                [sys.executable, "-m", "genesys.sandbox.server", str(theirs.fileno()), *self._preload],
                pass_fds=[theirs.fileno()],
                env=child_environment(),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=(self._scratch / "server.log").open("ab"),
                start_new_session=True,
            )
            theirs.close()
            reader, self._writer = await asyncio.open_connection(sock=ours)
            ready = await asyncio.wait_for(reader.readline(), _START_TIMEOUT_S)
            if not ready:
                log = (self._scratch / "server.log").read_text()[-2000:]
                raise TransientError(f"Cannot start the fork server: it ended while importing.\n{log}")
            self._listener = asyncio.create_task(self._listen(reader))

    async def _listen(self, reader: asyncio.StreamReader) -> None:
        while line := await reader.readline():
            message = json.loads(line)
            job = message["job"]
            if "pid" in message:
                self._pids[job] = message["pid"]
                if job not in self._ends:  # its caller has given up already
                    self._kill(job)
                continue
            self._pids.pop(job, None)
            self._finish(job, message["exit"])
        # The server died, and its children with it. Its sockets close before it can be waited for, so that `poll` may
        # still call it alive when the next job comes: it is given up here, before its jobs end.
        self._server, server = None, self._server
        if server is not None:
            server.kill()
            server.wait()
        for job in list(self._ends):
            self._finish(job, -signal.SIGKILL)

    def _finish(self, job: int, code: int) -> None:
        ended = self._ends.pop(job, None)
        if ended is not None and not ended.done():
            ended.set_result(code)

    def _kill(self, job: int) -> None:
        self._ends.pop(job, None)
        pid = self._pids.pop(job, None)
        if pid is not None:
            for kill in (os.kill, os.killpg):  # it may not lead its group yet
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    kill(pid, signal.SIGKILL)

    def _read_answer(self, entry: str, folder: Path, code: int) -> dict[str, Any]:
        path = folder / "answer.json"
        if not path.exists():
            log = (folder / "log.txt").read_text(errors="replace")[-1000:] if (folder / "log.txt").exists() else ""
            cause: FailureCause = "killed" if code in (-signal.SIGKILL, -signal.SIGTERM) else "error"
            raise JobFailed(cause, f"{entry} ended with code {code} and no answer. {log}".strip())
        try:
            answer = json.loads(path.read_text())
            cause, result = answer.get("cause"), answer.get("answer")
        except (ValueError, AttributeError) as error:
            raise JobFailed("error", f"{entry} gave no JSON object: {error}") from None
        if cause is not None:
            raise JobFailed(cause if cause in CAUSES else "error", f"{entry}: {answer.get('message')}")
        if not isinstance(result, dict):
            raise JobFailed("error", f"{entry} answered {type(result).__name__}; expected a JSON object")
        return result


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
        "DS_ACCELERATOR": "cpu" if not os.environ.get("CUDA_VISIBLE_DEVICES") else "cuda",
    }


def isolation() -> dict[str, bool]:
    """Which layers stand between a design's code and this machine."""
    return {
        "child process": True,
        "process group killed at the deadline": True,
        "scrubbed environment": True,
        "dies with its parent": sys.platform == "linux",
        "file system": False,
        "network": False,
        "memory limit": False,
    }
