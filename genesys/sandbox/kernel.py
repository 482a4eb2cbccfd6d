"""Linux system calls that the cage needs and Python does not offer. Each raises OSError as the kernel says.

Numbers hold for x86-64 and arm64, which share those of every call added since 2019.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import platform
import socket
import struct
import sys
from functools import lru_cache
from typing import Any

PR_SET_PDEATHSIG = 1
PR_CAPBSET_DROP = 24
PR_SET_CHILD_SUBREAPER = 36
PR_SET_NO_NEW_PRIVS = 38
PR_CAP_AMBIENT = 47
PR_CAP_AMBIENT_CLEAR_ALL = 4

CLONE_NEWNS = 0x0002_0000
CLONE_NEWUTS = 0x0400_0000
CLONE_NEWIPC = 0x0800_0000
CLONE_NEWUSER = 0x1000_0000
CLONE_NEWPID = 0x2000_0000
CLONE_NEWNET = 0x4000_0000

MS_NOSUID, MS_NODEV, MS_NOEXEC = 2, 4, 8
MS_BIND, MS_REC, MS_PRIVATE = 4096, 16384, 1 << 18
MNT_DETACH = 2

MOUNT_SETATTR, LANDLOCK_CREATE, LANDLOCK_ADD, LANDLOCK_RESTRICT = 442, 444, 445, 446
_AT_FDCWD, _AT_RECURSIVE = -100, 0x8000
_MOUNT_ATTR_RDONLY, _MOUNT_ATTR_NOSUID, _MOUNT_ATTR_NODEV = 1, 2, 4
_LAST_CAPABILITY = 63


_SIOCGIFFLAGS, _SIOCSIFFLAGS, _IFF_UP = 0x8913, 0x8914, 1


def supported() -> bool:
    """Whether these calls can be made at all on this machine."""
    return sys.platform == "linux" and platform.machine() in ("x86_64", "aarch64")


def number(x86_64: int, aarch64: int) -> int:
    """The number of a call that differs between the two architectures."""
    return aarch64 if platform.machine() == "aarch64" else x86_64


def prctl(option: int, *arguments: int) -> None:
    """Set an attribute of this process."""
    padded = [ctypes.c_ulong(value) for value in (*arguments, 0, 0, 0, 0)[:4]]
    _checked(_libc().prctl(option, *padded), f"prctl {option}")


def unshare(flags: int) -> None:
    """Move this process (its children, for a PID namespace) into new namespaces."""
    _checked(_libc().unshare(flags), f"unshare {flags:#x}")


def mount(source: str, target: str, kind: str, flags: int, data: str = "") -> None:
    """Mount a file system."""
    raw = [value.encode() for value in (source, target, kind)]
    _checked(_libc().mount(*raw, ctypes.c_ulong(flags), data.encode()), f"mount {target}")


def bind(source: str, target: str, *, read_only: bool) -> None:
    """Make a file or folder seen at another place, with what is mounted below it."""
    mount(source, target, "", MS_BIND | MS_REC)
    attributes = _MOUNT_ATTR_NOSUID | (_MOUNT_ATTR_RDONLY if read_only else 0)
    if not source.startswith("/dev/"):
        attributes |= _MOUNT_ATTR_NODEV
    request = (ctypes.c_uint64 * 4)(attributes, 0, 0, 0)
    syscall(MOUNT_SETATTR, _AT_FDCWD, target.encode(), _AT_RECURSIVE, ctypes.byref(request), ctypes.sizeof(request))


def pivot_root(new_root: str) -> None:
    """Make a mounted folder this mount namespace's root, and let the old one go."""
    os.chdir(new_root)
    syscall(number(155, 41), b".", b".")
    _checked(_libc().umount2(b".", MNT_DETACH), "umount")
    os.chdir("/")


def drop_capabilities() -> None:
    """Give up every privilege of this process, for good."""
    for capability in range(_LAST_CAPABILITY + 1):
        try:
            prctl(PR_CAPBSET_DROP, capability)
        except OSError:  # beyond the kernel's last one, or not ours to drop
            break
    prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL)
    header = (ctypes.c_uint32 * 2)(0x2008_0522, 0)
    syscall(number(126, 91), ctypes.byref(header), ctypes.byref((ctypes.c_uint32 * 6)()))


def raise_loopback() -> None:
    """Bring up the loopback interface of this process's network namespace."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        answer = fcntl.ioctl(any_socket, _SIOCGIFFLAGS, struct.pack("16sH14x", b"lo", 0))
        flags = struct.unpack_from("H", answer, 16)[0]
        fcntl.ioctl(any_socket, _SIOCSIFFLAGS, struct.pack("16sH14x", b"lo", flags | _IFF_UP))


def syscall(n: int, *arguments: Any) -> int:
    """Make a system call by number; integers are passed as longs."""
    raw = [ctypes.c_long(value) if isinstance(value, int) else value for value in arguments]
    return _checked(_libc().syscall(ctypes.c_long(n), *raw), f"system call {n}")


def _checked(result: int, what: str) -> int:
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, f"{what}: {os.strerror(code)}")
    return result


@lru_cache(maxsize=1)
def _libc() -> ctypes.CDLL:
    libc = ctypes.CDLL(None, use_errno=True)
    libc.syscall.restype = ctypes.c_long
    return libc
