"""Steps by which a process gives up what a job must not have, in their order. Linux; each step is one layer.

The keeper takes the first ones and forks; the child takes the rest, and then runs generated code. `probe` tries them all
on this host; a job that cannot take a step which the probe could does not run.
"""

from __future__ import annotations

import contextlib
import os
import resource
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from genesys.sandbox import cgroups, filesystem, kernel, landlock, seccomp
from genesys.sandbox.layers import LAYERS, Layer
from genesys.sandbox.policy import Policy

_MB = 1 << 20
_FIRST_UID, _N_UIDS = 1_000_000_000, 1_000_000_000


Step = tuple[Layer, Callable[[], None]]


def keeper_steps(layers: frozenset[Layer]) -> Iterator[Step]:
    """What the parent of the job does before it forks the job."""
    if "user-namespace" in layers:
        yield "user-namespace", _enter_user_namespace
    if "pid-namespace" in layers:
        yield "pid-namespace", lambda: kernel.unshare(kernel.CLONE_NEWPID)


def early_steps(layers: frozenset[Layer]) -> Iterator[Step]:
    """What the job's process does before it knows its job."""
    if "net-namespace" in layers:
        yield "net-namespace", lambda: kernel.unshare(kernel.CLONE_NEWNET)
    if "ipc-namespace" in layers:
        yield "ipc-namespace", lambda: kernel.unshare(kernel.CLONE_NEWIPC | kernel.CLONE_NEWUTS)


@dataclass(frozen=True, slots=True, kw_only=True)
class Confinement:
    """What one job is to be confined by, beside the steps before.

    Attributes:
        root: An empty folder to build the job's root in.
        scratch: The job's working folder.
        uid: The user that the job becomes when the layer "uid" is in force.
    """

    layers: frozenset[Layer]
    policy: Policy
    root: str
    scratch: str
    uid: int

    def steps(self) -> Iterator[Step]:
        """What the job does before it runs generated code; the system call filter is apart, see `seal`."""
        if self.policy.loopback:
            yield "net-namespace", self._open_loopback
        if "rlimits" in self.layers:
            yield "rlimits", self._limit
        if "mount-namespace" in self.layers:
            yield "mount-namespace", self._move_root
        if "uid" in self.layers:
            yield "uid", self._become
        if "no-new-privileges" in self.layers:
            yield "no-new-privileges", self._renounce
        if "landlock" in self.layers:
            yield "landlock", self._restrict_files

    def seal(self) -> None:
        """Filter the system calls; last, since it forbids the other steps, and in the process that runs the code."""
        if "seccomp" in self.layers:
            metadata = "mount-namespace" in self.layers
            seccomp.install(allow_memfd=self.policy.gpu, allow_metadata=metadata, allow_tcp=self.policy.loopback)

    def _open_loopback(self) -> None:
        if "net-namespace" not in self.layers:
            raise OSError("processes that talk to each other need a network namespace, which this host does not offer")
        kernel.raise_loopback()

    def _move_root(self) -> None:
        kernel.unshare(kernel.CLONE_NEWNS)
        filesystem.build_root(self.root, self.policy, self.scratch)

    def _limit(self) -> None:
        policy = self.policy
        limits = {
            resource.RLIMIT_CORE: 0,
            resource.RLIMIT_NOFILE: policy.n_open_files,
            resource.RLIMIT_FSIZE: policy.file_mb * _MB,
            resource.RLIMIT_MSGQUEUE: 0,
            resource.RLIMIT_NPROC: policy.n_processes + self._n_counted_already(),
        }
        if not policy.gpu:
            limits[resource.RLIMIT_DATA] = policy.memory_mb * _MB + _own_data_bytes()
        if policy.cpu_s:
            limits[resource.RLIMIT_CPU] = max(1, round(policy.cpu_s))
        for limit, value in limits.items():
            hard = resource.getrlimit(limit)[1]
            value = value if hard == resource.RLIM_INFINITY else min(value, hard)
            resource.setrlimit(limit, (value, value))

    def _n_counted_already(self) -> int:
        """RLIMIT_NPROC counts the processes of a user, within a user namespace."""
        return 0 if {"uid", "user-namespace"} & self.layers else _n_own_threads()

    def _become(self) -> None:
        os.setgroups([])
        os.setresgid(self.uid, self.uid, self.uid)
        os.setresuid(self.uid, self.uid, self.uid)

    def _renounce(self) -> None:
        kernel.drop_capabilities()
        kernel.prctl(kernel.PR_SET_NO_NEW_PRIVS, 1)

    def _restrict_files(self) -> None:
        temporary = ("/tmp", "/dev/shm") if "mount-namespace" in self.layers else ()
        own = ("/proc/self",) if "mount-namespace" not in self.layers else ("/proc",)
        landlock.restrict(
            (*filesystem.readable_paths(self.policy), *own),
            (self.scratch, *temporary, *self.policy.writable),
            filesystem.device_paths(self.policy),
            allow_tcp=self.policy.loopback,
        )


def job_uid(keeper: int) -> int:
    """An unprivileged user for the job of a keeper with this process id, another one than those of other jobs."""
    return _FIRST_UID + keeper % _N_UIDS


def probe(folder: Path, without: frozenset[str] = frozenset()) -> Mapping[Layer, str]:
    """Try each layer in children of this process: the reason why it cannot be had on this host, "" if it can."""
    filesystem.interpreter_paths()
    wanted: dict[Layer, str] = {layer: "" if layer not in without else "switched off" for layer in LAYERS}
    if "cgroup" not in without:
        wanted["cgroup"] = _try_group()
    if os.geteuid() != 0:
        return _available(wanted | {"uid": wanted["uid"] or "needs root"}, folder)
    # Root makes namespaces by itself and gives the job another user. In a container it may lack the right to the first;
    # then it needs a user namespace like everybody else, and in there no other user is to be had.
    alone = _available(wanted | {"user-namespace": "root needs none"}, folder)
    inside = _available(wanted | {"uid": "not beside a user namespace"}, folder)
    return max(alone, inside, key=lambda reasons: sum(not reason for reason in reasons.values()))


def _available(reasons: dict[Layer, str], folder: Path) -> dict[Layer, str]:
    """Each round finds the first step that fails; without it the next round gets further."""
    while failed := _first_failure(reasons, folder):
        layer, reason = failed
        reasons = reasons | {layer: reason}
    return reasons


def _first_failure(reasons: Mapping[Layer, str], folder: Path) -> tuple[Layer, str] | None:
    """Take all steps that have no reason against them, in two children as a job does."""
    layers = frozenset(layer for layer, reason in reasons.items() if not reason)
    trial = Confinement(
        layers=layers,
        policy=Policy(),
        root=str(folder / "root"),
        scratch=str(folder / "scratch"),
        uid=job_uid(os.getpid()),
    )
    for path in (trial.root, trial.scratch):
        os.makedirs(path, exist_ok=True)
    read_end, write_end = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(read_end)
        with contextlib.suppress(BaseException):
            _take(keeper_steps(layers), write_end)
            child = os.fork()
            if child == 0:
                _take(early_steps(layers), write_end)
                _take(trial.steps(), write_end)
                _take(iter((("seccomp", trial.seal),)), write_end)
                _take(iter(((_guard_of_files(layers), _find_library),)), write_end)
                os._exit(0)
            os.waitpid(child, 0)
        os._exit(0)
    os.close(write_end)
    with open(read_end, encoding="utf-8", errors="replace") as pipe:
        said = pipe.read()
    os.waitpid(pid, 0)
    if not said:
        return None
    layer, _, reason = said.splitlines()[0].partition("\t")
    return layer, reason  # type: ignore[return-value]


def _take(steps: Iterator[Step], write_end: int) -> None:
    for layer, step in steps:
        try:
            step()
        except Exception as error:  # whatever it is, the layer is not to be had
            os.write(write_end, f"{layer}\t{str(error) or type(error).__name__}\n".encode())
            os._exit(0)


def _guard_of_files(layers: frozenset[Layer]) -> Layer:
    """The layer to blame when a job cannot read the interpreter's own files."""
    guards: tuple[Layer, ...] = ("mount-namespace", "uid", "landlock")
    return next((layer for layer in guards if layer in layers), "landlock")


def _find_library() -> None:
    """Whether a module that is not imported yet can still be read."""
    os.listdir(os.path.dirname(os.__file__))


def _enter_user_namespace() -> None:
    uid, gid = os.geteuid(), os.getegid()
    kernel.unshare(kernel.CLONE_NEWUSER)
    Path("/proc/self/setgroups").write_text("deny")
    Path("/proc/self/uid_map").write_text(f"{uid} {uid} 1")
    Path("/proc/self/gid_map").write_text(f"{gid} {gid} 1")


def _try_group() -> str:
    try:
        group = cgroups.Group.of(os.getpid())
        group.create()
        try:
            group.limit(Policy())
        finally:
            group.remove()
    except OSError as error:
        return str(error)
    return ""


def _own_data_bytes() -> int:
    """Private writable memory that this process has mapped already."""
    status = Path("/proc/self/status").read_text()
    return next(int(line.split()[1]) << 10 for line in status.splitlines() if line.startswith("VmData:"))


def _n_own_threads() -> int:
    """Threads of this user on the machine, which RLIMIT_NPROC counts too."""
    count, own = 0, os.geteuid()
    for entry in os.scandir("/proc"):
        with contextlib.suppress(OSError):
            if entry.name.isdigit() and entry.stat().st_uid == own:
                count += len(os.listdir(f"/proc/{entry.name}/task"))
    return count
