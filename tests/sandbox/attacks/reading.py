"""Attacks that read what they must not. Each gives what it found, or nothing."""

from __future__ import annotations

import ctypes
import os
from typing import Any

from tests.sandbox.attacks.prelude import ancestors, read_if_secret, syscall


def own_environment(goal: dict[str, Any]) -> object:
    """A key that the owner holds in its environment."""
    return os.environ.get(goal["variable"])


def environ_of_ancestors(goal: dict[str, Any]) -> object:
    """`/proc/<pid>/environ` of the parents and of the owner."""
    pids = [*ancestors(), goal["owner"], goal["victim"]]
    return next(filter(None, (read_if_secret(f"/proc/{pid}/environ", goal) for pid in pids)), None)


def cmdline_of_victim(goal: dict[str, Any]) -> object:
    """`/proc/<pid>/cmdline` of a process of the same user that got a key as an argument."""
    return read_if_secret(f"/proc/{goal['victim']}/cmdline", goal)


def key_file_of_root(goal: dict[str, Any]) -> object:
    """A file that only its owner may read."""
    return open(goal["secret_files"][0]).read()


def ordinary_file_of_home(goal: dict[str, Any]) -> object:
    """A file in the home folder that anybody may read."""
    return open(goal["secret_files"][1]).read()


def key_file_by_proc_root(goal: dict[str, Any]) -> object:
    """The key file seen through another process's root and working folder."""
    for pid in [*ancestors(), goal["victim"], "self", 1]:
        for door in ("root", "cwd"):
            found = read_if_secret(f"/proc/{pid}/{door}{goal['secret_files'][0]}", goal)
            if found:
                return found
    return None


def key_file_by_descriptor_of_victim(goal: dict[str, Any]) -> object:
    """The key file through a descriptor that another process holds open."""
    folder = f"/proc/{goal['victim']}/fd"
    files = [f"{folder}/{fd}" for fd in os.listdir(folder) if os.readlink(f"{folder}/{fd}").startswith("/")]
    return next(filter(None, (read_if_secret(path, goal) for path in files)), None)


def key_file_by_pidfd(goal: dict[str, Any]) -> object:
    """A descriptor of another process, fetched with pidfd_getfd."""
    pidfd = syscall(434, goal["victim"], 0)
    for fd in range(3, 12) if pidfd >= 0 else ():
        copy = syscall(438, pidfd, fd, 0)
        if copy >= 0:
            found = os.pread(copy, 4096, 0)
            if goal["secret"][::-1].encode() in found:
                return found.decode()
    return None


def key_file_by_handle(goal: dict[str, Any]) -> object:
    """The key file by open_by_handle_at, which walks no path."""
    handle = (ctypes.c_ubyte * 136)()
    ctypes.cast(handle, ctypes.POINTER(ctypes.c_uint))[0] = 128
    mount = ctypes.c_int()
    if syscall(303, -100, goal["secret_files"][0].encode(), handle, ctypes.byref(mount), 0) < 0:
        return None
    at = os.open("/", os.O_RDONLY)
    fd = syscall(304, at, handle, os.O_RDONLY)
    return os.read(fd, 4096).decode() if fd >= 0 else None


def memory_of_victim(goal: dict[str, Any]) -> object:
    """`/proc/<pid>/mem` of a process that holds a key, by way of its maps."""
    pid = goal["victim"]
    with open(f"/proc/{pid}/maps") as maps, open(f"/proc/{pid}/mem", "rb", 0) as memory:
        for line in maps:
            if "[stack]" in line or "[heap]" in line:
                low, high = (int(part, 16) for part in line.split()[0].split("-"))
                memory.seek(low)
                if goal["secret"][::-1].encode() in memory.read(high - low):
                    return goal["secret"][::-1]
    return None


def memory_of_victim_by_vm_readv(goal: dict[str, Any]) -> object:
    """Another process's memory by process_vm_readv, at an address that the harness tells."""
    target = (ctypes.c_char * 64)()
    local = (ctypes.c_size_t * 2)(ctypes.addressof(target), 64)
    remote = (ctypes.c_size_t * 2)(goal["victim_address"], 64)
    n = syscall(310, goal["victim"], local, 1, remote, 1, 0)
    return target.raw.decode(errors="replace") if n > 0 else None


def memory_of_server(goal: dict[str, Any]) -> object:
    """`/proc/<ppid>/mem` of whoever started this job: opening it is enough."""
    for pid in ancestors():
        if pid != 1:  # in a namespace of its own the first process is the cage's
            with open(f"/proc/{pid}/mem", "rb", 0):
                return f"opened the memory of {pid}"
    return None


def scratch_of_sibling(goal: dict[str, Any]) -> object:
    """Another job's scratch folder, searched for from our own and from where the cages lie."""
    roots = {os.path.dirname(os.getcwd()), goal["cages"], "/proc/1/cwd", "/proc/1/root" + goal["cages"]}
    for root in roots:
        for folder, _, names in os.walk(root):
            for name in names:
                if name == "neighbour.txt" and folder != os.getcwd():
                    return open(os.path.join(folder, name)).read()
    return None


def evaluation_data(goal: dict[str, Any]) -> object:
    """The tokens of the test split."""
    return read_if_secret(goal["test_split"], goal)


def journal_of_the_run(goal: dict[str, Any]) -> object:
    """The run's journal."""
    return read_if_secret(goal["journal"], goal)


def weights_of_another_design(goal: dict[str, Any]) -> object:
    """Another design's trained weights."""
    return read_if_secret(goal["weights"], goal)


def inherited_descriptors(goal: dict[str, Any]) -> object:
    """Descriptors that the cage left open: whatever opens a way to files outside is told."""
    for fd in range(3, 256):
        try:
            target = os.readlink(f"/proc/self/fd/{fd}")
        except OSError:
            continue
        if target.startswith(goal["home"]) or goal["secret_files"][0] in target:
            return f"descriptor {fd} is {target}"
        if target.startswith("/") and os.path.isdir(target) and not target.startswith(("/proc", os.getcwd())):
            try:
                name = os.path.relpath(goal["secret_files"][0], target)
                return os.read(os.open(name, os.O_RDONLY, dir_fd=fd), 4096).decode()
            except OSError:
                continue
    return None


def io_uring_reads_a_file(goal: dict[str, Any]) -> object:
    """io_uring_setup: a ring does system calls that a filter does not see."""
    return "a ring was set up" if syscall(425, 4, (ctypes.c_ubyte * 120)()) >= 0 else None


def kernel_log(goal: dict[str, Any]) -> object:
    """The kernel's log, by syslog(2)."""
    return "the kernel log is open" if syscall(103, 10, None, 0) > 0 else None
