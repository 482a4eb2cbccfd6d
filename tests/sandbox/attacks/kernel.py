"""System calls that a design never needs. Arguments are invalid or harmless: only the kind of refusal tells."""

from __future__ import annotations

import ctypes
import os
from typing import Any

from tests.sandbox.attacks.prelude import syscall

_REFUSED = (-1, -13, -38)  # EPERM, EACCES, ENOSYS


def _allowed(name: str, number: int, *arguments: object) -> object:
    answer = syscall(number, *arguments)
    return None if answer in _REFUSED else f"{name} got as far as {answer}"


def bpf_program(goal: dict[str, Any]) -> object:
    """bpf(2): programs in the kernel."""
    return _allowed("bpf", 321, 9999, None, 0)


def performance_counters(goal: dict[str, Any]) -> object:
    """perf_event_open, with attributes of size zero."""
    return _allowed("perf_event_open", 298, (ctypes.c_ubyte * 128)(), 0, -1, -1, 0)


def page_faults_by_hand(goal: dict[str, Any]) -> object:
    """userfaultfd, the tool that holds races open."""
    return _allowed("userfaultfd", 323, 1)


def asynchronous_ring(goal: dict[str, Any]) -> object:
    """io_uring_register on no ring at all."""
    return _allowed("io_uring_register", 427, -1, 0, None, 0)


def reboot(goal: dict[str, Any]) -> object:
    """reboot with wrong magic numbers, which cannot work."""
    return _allowed("reboot", 169, 0, 0, 0)


def swap_area(goal: dict[str, Any]) -> object:
    """swapon of a file that does not exist."""
    return _allowed("swapon", 167, b"/nowhere/swap", 0)


def other_kernel(goal: dict[str, Any]) -> object:
    """kexec_load with flags that cannot be."""
    return _allowed("kexec_load", 246, 0, 0, None, 0xFFFF)


def kernel_module(goal: dict[str, Any]) -> object:
    """finit_module of no file."""
    return _allowed("finit_module", 313, -1, b"", 0)


def host_name(goal: dict[str, Any]) -> object:
    """sethostname of a negative length."""
    return _allowed("sethostname", 170, b"x", -1)


def wall_clock(goal: dict[str, Any]) -> object:
    """clock_settime of a clock that does not exist is EINVAL for everybody: settimeofday's bad pointer tells."""
    answer = syscall(164, ctypes.c_void_p(8), None)
    return None if answer in _REFUSED else f"settimeofday got as far as {answer}"


def input_ports(goal: dict[str, Any]) -> object:
    """ioperm for the port of the start-up codes, which nothing listens to."""
    return _allowed("ioperm", 173, 0x80, 1, 1)


def personality_without_randomness(goal: dict[str, Any]) -> object:
    """personality: addresses no longer random for what is started next."""
    return "personality was changed" if syscall(135, 0x0040000) >= 0 else None


def quota_control(goal: dict[str, Any]) -> object:
    """quotactl on no device."""
    return _allowed("quotactl", 179, 0x80000700, b"/nowhere", 0, None)


def accounting(goal: dict[str, Any]) -> object:
    """acct into a file that does not exist."""
    return _allowed("acct", 163, b"/nowhere/acct")


def namespace_of_parent(goal: dict[str, Any]) -> object:
    """setns into the namespace where it already is."""
    return _allowed("setns", 308, os.open("/proc/self/ns/net", os.O_RDONLY), 0)


def new_namespaces(goal: dict[str, Any]) -> object:
    """Namespaces of mounts and of the network, in a child."""
    pid = os.fork()
    if pid == 0:
        os._exit(7 if syscall(272, 0x00020000 | 0x40000000) >= 0 else 0)
    return "unshare works" if os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 7 else None


def real_time_priority(goal: dict[str, Any]) -> object:
    """A real-time priority, with which a loop stops everything else; taken back at once."""
    os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(1))
    os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
    return "real-time priority was given"


def locked_memory(goal: dict[str, Any]) -> object:
    """Memory that cannot be swapped: 64 MiB, until the process ends."""
    held = (ctypes.c_ubyte * (64 << 20))()
    return "64 MiB are locked" if syscall(149, held, 64 << 20) >= 0 else None


def root_cgroup(goal: dict[str, Any]) -> object:
    """Out of the cgroup: its own id into the root's, by a descriptor that is opened and closed unused."""
    for kind in ("pids", "memory", "unified", ""):
        path = f"/sys/fs/cgroup/{kind}/cgroup.procs"
        if os.path.exists(path):
            os.close(os.open(path, os.O_WRONLY))
            return f"{path} can be written"
    return None


def release_agent(goal: dict[str, Any]) -> object:
    """A program that the kernel starts outside when a cgroup empties; opened and closed unused."""
    for kind in ("pids", "memory", "cpu", "freezer"):
        path = f"/sys/fs/cgroup/{kind}/release_agent"
        if os.path.exists(path):
            os.close(os.open(path, os.O_WRONLY))
            return f"{path} can be written"
    return None


def raw_memory(goal: dict[str, Any]) -> object:
    """The machine's memory and its disks, as devices."""
    for path in ("/dev/mem", "/dev/kmsg", "/dev/vda", "/dev/sda", "/dev/fuse"):
        if os.path.exists(path):
            os.close(os.open(path, os.O_RDWR))
            return f"{path} opens"
    return None


def other_architecture(goal: dict[str, Any]) -> object:
    """A system call by the 32-bit door, where the filter's numbers mean other calls: getpid."""
    import mmap

    code = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    code.write(b"\xb8\x14\x00\x00\x00\xcd\x80\xc3")  # mov eax, 20; int 0x80; ret
    address = ctypes.addressof(ctypes.c_char.from_buffer(code))
    pid = ctypes.CFUNCTYPE(ctypes.c_int)(address)()
    return "32-bit system calls pass" if pid == os.getpid() else None


def other_numbering(goal: dict[str, Any]) -> object:
    """A system call by its x32 number, which a filter by number overlooks: getpid."""
    return "x32 system calls pass" if syscall(0x40000000 | 39) == os.getpid() else None


def clone_into_namespaces(goal: dict[str, Any]) -> object:
    """clone with a user namespace, which a filter of unshare alone overlooks."""
    pid = syscall(56, 0x10000000 | 17, None, None, None, None)
    if pid == 0:
        os._exit(0)
    return "clone makes a user namespace" if pid > 0 else None


def clone3_into_namespaces(goal: dict[str, Any]) -> object:
    """clone3, whose flags lie in memory where no filter sees them."""
    arguments = (ctypes.c_uint64 * 11)(0x10000000, 0, 0, 0, 17)
    pid = syscall(435, arguments, 88)
    if pid == 0:
        os._exit(0)
    return "clone3 makes a user namespace" if pid > 0 else None


def system_request(goal: dict[str, Any]) -> object:
    """The file through which the machine is restarted, opened and closed unused."""
    os.close(os.open("/proc/sysrq-trigger", os.O_WRONLY))
    return "/proc/sysrq-trigger can be written"


def image_of_memory(goal: dict[str, Any]) -> object:
    """The kernel's memory as a file, opened and closed unused."""
    os.close(os.open("/proc/kcore", os.O_RDONLY))
    return "/proc/kcore opens"
