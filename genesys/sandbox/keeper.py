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
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NoReturn

from genesys.sandbox import filesystem, kernel
from genesys.sandbox.cgroups import Group
from genesys.sandbox.confinement import Confinement, early_steps, job_uid, keeper_steps
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


def keep(job_read: int, end: int, layers: frozenset[Layer], work: Work) -> NoReturn:
    """Wait for a job, run `work` as it, leave its outcome in its folder. Call it in a fork of the server; no return.

    All that does not depend on the job is done while waiting: its process stands ready in its namespaces and its group.

    Args:
        job_read: A pipe that gives the job as JSON, and then ends.
        end: A pipe that is told this process' id, in eight bytes, when all is done.
    """
    try:
        os.setsid()
        _outlive_nobody()
        keeper = _Keeper(layers, work)
        with open(job_read, "rb") as pipe:
            line = pipe.read()
        if line and not _cancelled:
            keeper.keep(Job.from_json(json.loads(line)))
            with contextlib.suppress(BrokenPipeError):
                os.write(end, os.getpid().to_bytes(8, "big"))
                os._exit(0)
        keeper.dissolve()  # the server is gone, be it by SIGKILL, or about to go
    finally:
        os._exit(0)


class _Keeper:
    def __init__(self, layers: frozenset[Layer], work: Work) -> None:
        self._layers, self._work = layers, work
        self._group: Group | None = None
        self._child = 0
        self._answer, self._log = bytearray(), bytearray()
        self._scratch_before = (0, 0)
        self._look_at_scratch = self._used_cpu_s = 0.0
        self._failure: OSError | None = None
        try:
            self._prepare()
        except OSError as error:  # said when there is a job to say it of
            self._failure = error

    def keep(self, job: Job) -> None:
        """Run the job and write its outcome."""
        try:
            outcome = self._run(job)
        except Exception as error:
            outcome = {"code": -1, "ended_by": "infrastructure", "message": f"{type(error).__name__}: {error}"}
        with contextlib.suppress(OSError):  # the owner may have removed the folder
            temporary = Path(job.folder, f".{OUTCOME_FILE}")
            temporary.write_text(json.dumps(outcome))
            temporary.rename(Path(job.folder, OUTCOME_FILE))

    def dissolve(self) -> None:
        """Kill the job and delete the group, where no server does."""
        self._kill_tree()
        if self._group is not None:
            with contextlib.suppress(OSError):  # the next cage's sweep finds what stays
                self._group.leave()
                self._group.remove()

    def _prepare(self) -> None:
        if "cgroup" in self._layers:
            self._group = Group.of(os.getpid())
            self._group.create()
            self._group.enter()  # here rather than in the child: the kernel takes its time to move a process
        for _, step in keeper_steps(self._layers):
            step()
        job_read, self._job_write = os.pipe()
        (self._answer_read, answer_write), (self._log_read, log_write) = os.pipe(), os.pipe()
        self._child = os.fork()
        if self._child == 0:
            _become_job(self._layers, self._work, job_read, answer_write, log_write)
        for fd in (job_read, answer_write, log_write):
            os.close(fd)
        for fd in (self._answer_read, self._log_read):
            os.set_blocking(fd, False)

    def _run(self, job: Job) -> dict[str, Any]:
        """Confine and start, watch, kill, collect."""
        if self._failure is not None:
            raise self._failure
        self._job = job
        request = Path(job.folder, REQUEST_FILE).read_bytes()
        try:
            if self._group is not None:
                self._group.limit(job.policy)
            if "watchdog" in self._layers:
                self._scratch_before = filesystem.usage(self._written())
            if "uid" in self._layers:
                filesystem.hand_over(self._written(), job_uid(os.getpid()))
            with contextlib.suppress(BrokenPipeError), open(self._job_write, "wb") as pipe:
                pipe.write(json.dumps(asdict(job) | {"uid": job_uid(os.getpid())}).encode() + b"\n" + request)
            ended_by, code = self._watch()
            if not ended_by and not self._answer:
                ended_by = self._silent_limit()
        finally:
            self._kill_tree()
            if "uid" in self._layers:
                filesystem.hand_over(job.policy.writable, os.geteuid())
        Path(job.folder, ANSWER_FILE).write_bytes(self._answer)
        Path(job.folder, LOG_FILE).write_bytes(self._log[-_LOG_BYTES:])
        return {"code": code, "ended_by": ended_by}

    def _watch(self) -> tuple[str, int]:
        """Collect what the job says until it ends or passes a limit: ("" or the limit, its exit code)."""
        pidfd = os.pidfd_open(self._child)
        poll = select.poll()
        for fd in (self._answer_read, self._log_read, pidfd):
            poll.register(fd, select.POLLIN)
        while True:
            left_s = self._job.deadline - time.monotonic()
            events = dict(poll.poll(max(0.0, min(_TICK_S, left_s)) * 1000))
            for fd, sink in ((self._answer_read, self._answer), (self._log_read, self._log)):
                if fd in events and not _read_into(fd, sink):
                    poll.unregister(fd)
            if len(self._log) > 4 * _LOG_BYTES:
                del self._log[:-_LOG_BYTES]
            ended = pidfd in events
            limit = self._passed_scratch_limit() if ended else self._passed_limit()
            if ended or limit:
                code = self._kill_tree()
                while _read_into(self._answer_read, self._answer) and len(self._answer) <= MAX_ANSWER_BYTES:
                    pass
                while _read_into(self._log_read, self._log) and len(self._log) <= 16 * _LOG_BYTES:
                    pass
                return limit, code

    def _passed_limit(self) -> str:
        now = time.monotonic()
        if now >= self._job.deadline:
            return "deadline"
        if _cancelled:
            return "cancelled"
        if len(self._answer) > MAX_ANSWER_BYTES:
            return "answer"
        if "watchdog" not in self._layers:
            return ""
        if self._group is None and self._memory() > self._job.policy.memory_mb * _MB:
            return "memory"
        return self._passed_scratch_limit() if now >= self._look_at_scratch else ""

    def _passed_scratch_limit(self) -> str:
        if "watchdog" in self._layers:
            self._look_at_scratch = time.monotonic() + _SCRATCH_TICK_S
            n_bytes, n_files = filesystem.usage(self._written(), _descendants(os.getpid()))
            if n_bytes - self._scratch_before[0] > self._job.policy.scratch_mb * _MB:
                return "scratch"
            if n_files - self._scratch_before[1] > self._job.policy.n_scratch_files:
                return "scratch files"
        return ""

    def _silent_limit(self) -> str:
        """The limit at which the kernel killed the job, if it was one."""
        if self._group is not None and self._group.ran_out_of_memory():
            return "memory"
        cpu_s = self._job.policy.cpu_s
        return "cpu" if cpu_s and self._used_cpu_s >= 0.8 * cpu_s else ""  # the two clocks of the kernel differ

    def _written(self) -> list[str]:
        return [str(Path(self._job.folder, "scratch")), *self._job.policy.writable]

    def _memory(self) -> int:
        """What the job's processes hold beyond what they share with others since they were forked."""
        return sum(map(_own_bytes, _descendants(os.getpid())))

    def _kill_tree(self) -> int:
        """Kill the job and all that it started, however it hid, and wait until they are gone; the job's exit code."""
        code = 0
        if self._child:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._child, signal.SIGKILL)  # all at once: it could not leave its group
        while self._child:
            for pid in {*_descendants(os.getpid()), *(self._group.pids() if self._group else ())} - {os.getpid(), 0}:
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.kill(pid, signal.SIGKILL)
            try:
                while (ended := os.wait4(-1, os.WNOHANG))[0]:
                    pid, status, used = ended
                    if pid == self._child:
                        code, self._used_cpu_s = os.waitstatus_to_exitcode(status), used.ru_utime + used.ru_stime
                time.sleep(0.001)
            except ChildProcessError:
                self._child = 0
        return code


def _become_job(layers: frozenset[Layer], work: Work, job_read: int, answer: int, log: int) -> NoReturn:
    """Wait for the job, confine this process, run the work, write its answer, and end."""
    try:
        os.setsid()
        kernel.prctl(kernel.PR_SET_PDEATHSIG, signal.SIGKILL)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        for fd in (1, 2):
            os.dup2(log, fd)
        job_read, answer = os.dup2(job_read, 3), os.dup2(answer, 4, inheritable=False)
        os.closerange(5, 1 << 16)
        with contextlib.suppress(OSError):  # the kernel, short of memory, is to take this process first
            Path("/proc/self/oom_score_adj").write_text("1000")
        for layer, step in early_steps(layers):
            _taking(layer, step)
        with open(job_read, "rb") as pipe:
            head, request = pipe.read().split(b"\n", 1)
        data = json.loads(head)
        uid = data.pop("uid")
        job = Job.from_json(data)
        _confine(layers, job, uid)
        _write_all(answer, work(job.entry, json.loads(request)))
    except BaseException as error:
        with contextlib.suppress(BaseException):
            _write_all(answer, json.dumps({"cause": "infrastructure", "message": str(error)[:2000]}).encode())
    finally:
        os._exit(0)


def _confine(layers: frozenset[Layer], job: Job, uid: int) -> None:
    scratch = str(Path(job.folder, "scratch"))
    confinement = Confinement(
        layers=layers, policy=job.policy, root=str(Path(job.folder, "root")), scratch=scratch, uid=uid
    )
    for layer, step in confinement.steps():
        _taking(layer, step)
    kernel.prctl(kernel.PR_SET_PDEATHSIG, signal.SIGKILL)  # a change of user takes it away
    os.chdir(scratch)
    os.environ.update(HOME=scratch, TMPDIR=scratch)
    _taking("seccomp", confinement.seal)


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


def _own_bytes(pid: int) -> int:
    """Memory that a process has to itself, and its part of the memory that it shares on purpose."""
    try:
        rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
    except OSError:
        return 0
    kept = (line.split() for line in rollup.splitlines() if line.startswith(("Private_Dirty:", "Pss_Shmem:")))
    return sum(int(words[1]) << 10 for words in kept)
