"""Attacks that take more than their share. All are bounded, so that a machine without a cage survives them."""

from __future__ import annotations

import mmap
import os
import resource
import signal
import sys
import threading
import time
from typing import Any

from tests.sandbox.attacks.prelude import fork_sleeper, syscall

_MIB = 1 << 20


def fork_bomb(goal: dict[str, Any]) -> object:
    """More processes than the policy gives."""
    pids = [fork_sleeper(5) for _ in range(goal["n_processes"] * 2 + 100)]
    return f"{len(pids)} processes at once"


def thread_bomb(goal: dict[str, Any]) -> object:
    """More threads than the policy gives."""
    for _ in range(goal["n_processes"] * 2 + 100):
        try:
            threading.Thread(target=time.sleep, args=(2,), daemon=True).start()
        except RuntimeError:
            return None
    return f"{threading.active_count()} threads at once"


def memory_hog(goal: dict[str, Any]) -> object:
    """Memory, touched page by page, up to three times the limit."""
    held = [bytearray(b"x") * (64 * _MIB) for _ in range(0, goal["memory_mb"] * 3, 64)]
    return f"{64 * len(held)} MiB held"


def memory_hog_in_children(goal: dict[str, Any]) -> object:
    """The same, spread over children, each below the limit."""
    share = goal["memory_mb"] // 2

    def touch() -> None:
        goal["held"] = bytearray(b"x") * (share * _MIB)

    pids = [fork_sleeper(1, touch) for _ in range(5)]
    ends = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids]
    return f"{5 * share} MiB held by children" if ends == [0] * 5 else None


def shared_memory_hog(goal: dict[str, Any]) -> object:
    """Shared anonymous memory, which no private limit counts."""
    held = [mmap.mmap(-1, 64 * _MIB) for _ in range(goal["memory_mb"] * 2 // 64)]
    for block in held:
        for at in range(0, 64 * _MIB, 4096):
            block[at] = 1
    return f"{64 * len(held)} MiB shared"


def memfd_hog(goal: dict[str, Any]) -> object:
    """Files in memory, which are in no address space."""
    fd, block = os.memfd_create("hog"), b"x" * (16 * _MIB)
    for _ in range(goal["memory_mb"] * 3 // 16):
        if os.write(fd, block) != len(block):
            return None
    return f"{os.fstat(fd).st_size // _MIB} MiB in a memfd"


def dev_shm_hog(goal: dict[str, Any]) -> object:
    """Files in /dev/shm, removed at once by name and held open."""
    fd = os.open(goal["shm_file"], os.O_CREAT | os.O_RDWR, 0o600)
    os.unlink(goal["shm_file"])
    block = b"x" * (16 * _MIB)
    for _ in range(goal["memory_mb"] * 3 // 16):
        if os.write(fd, block) != len(block):
            return None
    return "filled /dev/shm"


def segment_left_behind(goal: dict[str, Any]) -> object:
    """A System V segment, which outlives its maker."""
    return "a segment was made" if syscall(29, goal["shm_key"] + 1, _MIB, 0o1600) >= 0 else None


def disk_hog(goal: dict[str, Any]) -> object:
    """One large file in scratch."""
    block, n = b"x" * _MIB, goal["scratch_mb"] * 3
    with open("large", "wb") as file:
        for _ in range(n):
            file.write(block)
    return f"{n} MiB in scratch"


def disk_hog_in_many_files(goal: dict[str, Any]) -> object:
    """Files each below the limit of one file."""
    block, n = b"x" * _MIB, goal["scratch_mb"] * 3
    for index in range(n):
        with open(f"part-{index}", "wb") as file:
            file.write(block)
    return f"{n} MiB in scratch"


def sparse_file(goal: dict[str, Any]) -> object:
    """A file that claims a terabyte."""
    with open("sparse", "wb") as file:
        file.truncate(1 << 40)
    return "a file of 1 TiB"


def inode_bomb(goal: dict[str, Any]) -> object:
    """More files than the policy gives, all empty."""
    n = goal["n_scratch_files"] * 2 + 200
    for index in range(n):
        open(f"empty-{index}", "w").close()
    return f"{n} files"


def folder_bomb(goal: dict[str, Any]) -> object:
    """Folders within folders, deeper than a path may be long."""
    n = goal["n_scratch_files"] + 600
    for _ in range(n):
        os.mkdir("deeper")
        os.chdir("deeper")
    return f"{n} folders deep"


def descriptor_bomb(goal: dict[str, Any]) -> object:
    """More open files than the policy gives."""
    n = goal["n_open_files"] * 2
    held = [os.dup(1) for _ in range(n)]
    return f"{len(held)} open files"


def stdout_flood(goal: dict[str, Any]) -> object:
    """A gigabyte of output, or what the policy's time allows."""
    block = b"flood " * (_MIB // 6)
    for _ in range(goal["flood_mb"]):
        os.write(1, block)
    return None


def stderr_flood(goal: dict[str, Any]) -> object:
    """The same on the other stream, by print."""
    for _ in range(goal["flood_mb"]):
        print("flood " * (_MIB // 6), file=sys.stderr)
    return None


def raised_limits(goal: dict[str, Any]) -> object:
    """Its own limits, raised again."""
    for limit in (resource.RLIMIT_NOFILE, resource.RLIMIT_FSIZE):
        hard = resource.getrlimit(limit)[1]
        if hard != resource.RLIM_INFINITY:
            resource.setrlimit(limit, (hard + 1, hard + 1))
            return f"limit {limit} was raised"
    return "no limit was set" if resource.getrlimit(resource.RLIMIT_NOFILE)[1] > goal["n_open_files"] else None


def sleep_for_ever(goal: dict[str, Any]) -> object:
    """It waits past its deadline."""
    time.sleep(60)
    return None


def busy_loop_in_c(goal: dict[str, Any]) -> object:
    """One call that holds the interpreter's lock past the deadline."""
    return bool(pow(3, 1 << 40, (1 << 4_000_003) - 1) < 0)


def catastrophic_pattern(goal: dict[str, Any]) -> object:
    """A regular expression that backtracks until the end of days."""
    import re

    return re.match(r"(a+)+$", "a" * 64 + "b")


def ignores_every_signal(goal: dict[str, Any]) -> object:
    """SIGTERM, SIGALRM, SIGXCPU and the rest ignored, in a loop that swallows every exception."""
    for number in set(signal.Signals) - {signal.SIGKILL, signal.SIGSTOP}:
        signal.signal(number, signal.SIG_IGN)
    while True:
        try:
            time.sleep(60)
        except BaseException:
            continue


def daemon(goal: dict[str, Any]) -> object:
    """A double fork in a session of its own, which outlives the job."""
    pid = os.fork()
    if pid == 0:
        os.setsid()
        if os.fork() == 0:
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            signal.signal(signal.SIGHUP, signal.SIG_IGN)
            time.sleep(30)
        os._exit(0)
    os.waitpid(pid, 0)
    return None


def session_of_its_own(goal: dict[str, Any]) -> object:
    """One child in another session, which a signal to the group does not meet."""
    fork_sleeper(30, os.setsid)
    time.sleep(0.2)
    return None


def daemon_past_the_deadline(goal: dict[str, Any]) -> object:
    """The same, left by a job that is killed at its deadline."""
    fork_sleeper(30, os.setsid)
    time.sleep(60)
    return None


def program_left_behind(goal: dict[str, Any]) -> object:
    """Another program, started in a session of its own."""

    def start() -> None:
        os.setsid()
        os.execv(sys.executable, [sys.executable, "-S", "-c", f"import time; {goal['comm']!r}; time.sleep(30)"])

    fork_sleeper(30, start)
    time.sleep(0.3)
    return None


def stops_itself(goal: dict[str, Any]) -> object:
    """It stops itself, and so never ends."""
    os.kill(os.getpid(), signal.SIGSTOP)
    return None


def forks_for_ever(goal: dict[str, Any]) -> object:
    """A chain in which each process forks the next and ends, to slip away from whoever kills by list."""
    end = time.monotonic() + 6
    while time.monotonic() < end:
        if os.fork() != 0:
            os._exit(0)
        os.setsid()
        time.sleep(0.01)
    os._exit(0)
