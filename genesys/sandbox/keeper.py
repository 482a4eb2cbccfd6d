"""The parent of one job: forks it confined, watches its limits, and ends with nothing of it left alive.

Trusted code in a process of its own, outside the job's confinement. What the job says comes through two pipes of capped
length; the keeper writes it, and how the job ended, into the job's folder, where the job itself cannot write.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

from genesys.sandbox import filesystem, kernel
from genesys.sandbox.cgroups import Group
from genesys.sandbox.confinement import Confinement, job_uid
from genesys.sandbox.frames import MAX_ANSWER_BYTES
from genesys.sandbox.layers import Layer
from genesys.sandbox.policy import Policy

REQUEST_FILE, ANSWER_FILE, LOG_FILE, OUTCOME_FILE = "request.json", "answer.bin", "log.txt", "outcome.json"
_LOG_BYTES = 64 << 10
_TICK_S, _SCRATCH_TICK_S = 0.05, 0.25
_MB = 1 << 20

Work = Callable[[str, dict[str, Any]], bytes]
"""Runs an entry on a request, in the confined process, and gives the frame of its answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One request of the owner.

    Attributes:
        folder: Holds the request, and the outcome afterwards; `root` and `scratch` below it are empty.
        deadline: On the monotonic clock.
    """

    number: int
    entry: str
    folder: str
    policy: Policy
    deadline: float

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Job:
        policy = data["policy"]
        paths = {name: tuple(policy[name]) for name in ("readable", "writable")}
        return cls(**data | {"policy": Policy(**policy | paths)})


def keep(job: Job, layers: frozenset[Layer], work: Work) -> NoReturn:
    """Run `work` as a job and leave its outcome in the job's folder. Call it in a fork of the server; it does not return."""
    try:
        os.setsid()
        _outlive_nobody()
        outcome = _Keeper(job, layers).run(work)
    except Exception as error:
        outcome = {"code": -1, "ended_by": "infrastructure", "message": f"{type(error).__name__}: {error}"}
    with contextlib.suppress(OSError):  # the owner may have removed the folder
        temporary = Path(job.folder, f".{OUTCOME_FILE}")
        temporary.write_text(json.dumps(outcome))
        temporary.rename(Path(job.folder, OUTCOME_FILE))
    os._exit(0)


@dataclass(slots=True)
class _Keeper:
    job: Job
    layers: frozenset[Layer]
    group: Group | None = None
    answer: bytearray = field(default_factory=bytearray)
    log: bytearray = field(default_factory=bytearray)
    _child: int = 0
    _scratch_before: tuple[int, int] = (0, 0)
    _anonymous_before: int = 0
    _look_at_scratch: float = 0.0
    _used_cpu_s: float = 0.0

    def run(self, work: Work) -> dict[str, Any]:
        """Fork, watch, kill, collect."""
        confinement = self._confinement()
        request = json.loads(Path(self.job.folder, REQUEST_FILE).read_text())
        if "cgroup" in self.layers:
            self.group = Group.create(f"genesys-{os.getpid()}-{self.job.number}", self.job.policy)
        try:
            if "watchdog" in self.layers:
                self._scratch_before = filesystem.usage(self._written())
                self._anonymous_before = _anonymous_bytes(os.getpid())
            for _, step in confinement.keeper_steps():
                step()
            ended_by, code = self._watch(*self._fork(confinement, lambda: work(self.job.entry, request)))
            if not ended_by and not self.answer:
                ended_by = self._silent_limit()
        finally:
            self._kill_tree()
            if self.group is not None:
                self.group.remove()
        Path(self.job.folder, ANSWER_FILE).write_bytes(self.answer)
        Path(self.job.folder, LOG_FILE).write_bytes(self.log[-_LOG_BYTES:])
        return {"code": code, "ended_by": ended_by}

    def _confinement(self) -> Confinement:
        folder = Path(self.job.folder)
        return Confinement(
            layers=self.layers,
            policy=self.job.policy,
            root=str(folder / "root"),
            scratch=str(folder / "scratch"),
            uid=job_uid(self.job.number),
        )

    def _fork(self, confinement: Confinement, work: Callable[[], bytes]) -> tuple[int, int]:
        (answer_read, answer_write), (log_read, log_write) = os.pipe(), os.pipe()
        self._child = os.fork()
        if self._child == 0:
            _become_job(confinement, self.group, answer_write, log_write, work)
        for fd in (answer_write, log_write):
            os.close(fd)
        for fd in (answer_read, log_read):
            os.set_blocking(fd, False)
        return answer_read, log_read

    def _watch(self, answer_read: int, log_read: int) -> tuple[str, int]:
        """Collect what the job says until it ends or passes a limit: ("" or the limit, its exit code)."""
        pidfd = os.pidfd_open(self._child)
        poll = select.poll()
        for fd in (answer_read, log_read, pidfd):
            poll.register(fd, select.POLLIN)
        while True:
            left_s = self.job.deadline - time.monotonic()
            events = dict(poll.poll(max(0.0, min(_TICK_S, left_s)) * 1000))
            for fd, sink in ((answer_read, self.answer), (log_read, self.log)):
                if fd in events and not _read_into(fd, sink):
                    poll.unregister(fd)
            if len(self.log) > 4 * _LOG_BYTES:
                del self.log[:-_LOG_BYTES]
            ended = pidfd in events
            limit = "" if ended else self._passed_limit()
            if ended or limit:
                code = self._kill_tree()
                while _read_into(answer_read, self.answer) and len(self.answer) <= MAX_ANSWER_BYTES:
                    pass
                while _read_into(log_read, self.log) and len(self.log) <= 16 * _LOG_BYTES:
                    pass
                return limit, code

    def _passed_limit(self) -> str:
        now = time.monotonic()
        if now >= self.job.deadline:
            return "deadline"
        if _cancelled:
            return "cancelled"
        if len(self.answer) > MAX_ANSWER_BYTES:
            return "answer"
        if "watchdog" not in self.layers:
            return ""
        if self.group is None and self._memory() > self.job.policy.memory_mb * _MB:
            return "memory"
        if now >= self._look_at_scratch:
            self._look_at_scratch = now + _SCRATCH_TICK_S
            n_bytes, n_files = filesystem.usage(self._written())
            if n_bytes - self._scratch_before[0] > self.job.policy.scratch_mb * _MB:
                return "scratch"
            if n_files - self._scratch_before[1] > self.job.policy.n_scratch_files:
                return "scratch files"
        return ""

    def _silent_limit(self) -> str:
        """The limit at which the kernel killed the job, if it was one."""
        if self.group is not None and self.group.ran_out_of_memory():
            return "memory"
        cpu_s = self.job.policy.cpu_s
        return "cpu" if cpu_s and self._used_cpu_s >= cpu_s - _TICK_S else ""

    def _written(self) -> list[str]:
        return [str(Path(self.job.folder, "scratch")), *self.job.policy.writable]

    def _memory(self) -> int:
        """What the job's processes hold beyond what they share with this one since the fork."""
        return sum(max(0, _anonymous_bytes(pid) - self._anonymous_before) for pid in _descendants(os.getpid()))

    def _kill_tree(self) -> int:
        """Kill the job and all that it started, however it hid, and wait until they are gone; the job's exit code."""
        code = 0
        if not self._child:
            return code
        while True:
            alive = {self._child, *_descendants(os.getpid()), *(self.group.pids() if self.group else ())}
            for pid in alive - {os.getpid(), 0}:
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.kill(pid, signal.SIGKILL)
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._child, signal.SIGKILL)
            try:
                while (ended := os.wait4(-1, os.WNOHANG))[0]:
                    pid, status, used = ended
                    if pid == self._child:
                        code, self._used_cpu_s = os.waitstatus_to_exitcode(status), used.ru_utime + used.ru_stime
            except ChildProcessError:
                self._child = 0
                return code
            time.sleep(0.001)


def _become_job(
    confinement: Confinement, group: Group | None, answer: int, log: int, work: Callable[[], bytes]
) -> NoReturn:
    """Confine this process, run the work, write its answer, and end."""
    try:
        os.setsid()
        kernel.prctl(kernel.PR_SET_PDEATHSIG, signal.SIGKILL)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        if group is not None:
            group.enter()
        for fd in (1, 2):
            os.dup2(log, fd)
        answer = os.dup2(answer, 3, inheritable=False)
        os.closerange(4, 1 << 16)
        for layer, step in confinement.child_steps():
            _taking(layer, step)
        os.chdir(confinement.scratch)
        os.environ.update(HOME=confinement.scratch, TMPDIR=confinement.scratch)
        _taking("seccomp", confinement.seal)
        kernel.prctl(kernel.PR_SET_PDEATHSIG, signal.SIGKILL)  # a change of user takes it away
        _write_all(answer, work())
    except BaseException as error:
        with contextlib.suppress(BaseException):
            _write_all(answer, json.dumps({"cause": "infrastructure", "message": str(error)[:2000]}).encode())
    finally:
        os._exit(0)


def _taking(layer: str, step: Callable[[], None]) -> None:
    try:
        step()
    except OSError as error:
        raise OSError(f"Cannot confine the job by {layer!r}: {error}; it could when the cage was opened.") from error


def _outlive_nobody() -> None:
    """End when the server ends, but after having ended the job; adopt what the job leaves behind."""
    signal.signal(signal.SIGTERM, _cancel)
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    kernel.prctl(kernel.PR_SET_PDEATHSIG, signal.SIGTERM)
    kernel.prctl(kernel.PR_SET_CHILD_SUBREAPER, 1)
    if os.getppid() == 1:  # the server died before we asked
        os._exit(1)


_cancelled: list[bool] = []


def _cancel(*_: object) -> None:
    _cancelled.append(True)


def _read_into(fd: int, sink: bytearray) -> bool:
    """Read what is there; False at the end of the pipe, or when nothing is there."""
    try:
        data = os.read(fd, 1 << 16)
    except OSError:
        return False
    sink += data
    return bool(data)


def _write_all(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


def _descendants(pid: int) -> Iterator[int]:
    """The processes below one, found anew at each call; /proc lists a process' children by thread."""
    pending = [pid]
    while pending:
        parent = pending.pop()
        with contextlib.suppress(OSError):
            for thread in os.listdir(f"/proc/{parent}/task"):
                children = [int(word) for word in Path(f"/proc/{parent}/task/{thread}/children").read_text().split()]
                pending += children
                yield from children


def _anonymous_bytes(pid: int) -> int:
    """Anonymous and shared memory that a process has touched."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0
    kept = (line.split() for line in status.splitlines() if line.startswith(("RssAnon:", "RssShmem:")))
    return sum(int(words[1]) << 10 for words in kept)
