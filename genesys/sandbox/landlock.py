"""Landlock: which files a process and all its descendants may open, from now on and for good.

Uses what the kernel's version of the interface offers: files (1), truncation (3), TCP (4), device ioctls (5),
abstract unix sockets and signals (6). Does not cover: files that are open already, `stat`, permissions, owners,
times and attributes of files (nor truncation before version 3), sockets with a path, UDP, memory and CPU.

Source: Linux, Documentation/userspace-api/landlock.rst.
"""

from __future__ import annotations

import ctypes
import os
import stat
from collections.abc import Iterable

from genesys.sandbox.kernel import LANDLOCK_ADD, LANDLOCK_CREATE, LANDLOCK_RESTRICT, syscall

_CREATE_VERSION = 1
_RULE_PATH_BENEATH = 1
_EXECUTE, _WRITE_FILE, _READ_FILE, _READ_DIR = 1 << 0, 1 << 1, 1 << 2, 1 << 3
_REMOVE_DIR, _REMOVE_FILE, _MAKE_DIR, _MAKE_REG, _MAKE_SYM = 1 << 4, 1 << 5, 1 << 7, 1 << 8, 1 << 12
_TRUNCATE, _IOCTL_DEV = 1 << 14, 1 << 15
_N_RIGHTS = {1: 13, 2: 14, 3: 15, 4: 15}
_ALL_RIGHTS = 16
_BIND_TCP_CONNECT_TCP = 3
_SCOPE_ABSTRACT_SOCKETS_SIGNALS = 3

_READ = _READ_FILE | _READ_DIR
_WRITE = _READ | _WRITE_FILE | _REMOVE_DIR | _REMOVE_FILE | _MAKE_DIR | _MAKE_REG | _MAKE_SYM | _TRUNCATE
_DEVICE = _READ_FILE | _WRITE_FILE | _IOCTL_DEV
_OF_FILES = _EXECUTE | _WRITE_FILE | _READ_FILE | _TRUNCATE | _IOCTL_DEV


def abi() -> int:
    """The kernel's version of the interface.

    Raises:
        OSError: The kernel has no Landlock, or it is switched off.
    """
    return syscall(LANDLOCK_CREATE, None, 0, _CREATE_VERSION)


def restrict(
    readable: Iterable[str], writable: Iterable[str], devices: Iterable[str] = (), *, allow_tcp: bool = False
) -> None:
    """Confine this process to some files and folders; paths that do not exist are left out.

    Needs "no new privileges" or CAP_SYS_ADMIN. Executing, linking across folders and device nodes are never allowed; TCP only by `allow_tcp`.
    """
    version = abi()
    handled = (1 << _N_RIGHTS.get(version, _ALL_RIGHTS)) - 1
    attributes = (ctypes.c_uint64 * 3)(
        handled, 0 if allow_tcp else _BIND_TCP_CONNECT_TCP, _SCOPE_ABSTRACT_SOCKETS_SIGNALS
    )
    size = 24 if version >= 6 else 16 if version >= 4 else 8
    ruleset = syscall(LANDLOCK_CREATE, ctypes.byref(attributes), size, 0)
    try:
        for paths, rights in ((readable, _READ), (writable, _WRITE), (devices, _DEVICE)):
            for path in paths:
                _allow(ruleset, path, rights & handled)
        syscall(LANDLOCK_RESTRICT, ruleset, 0)
    finally:
        os.close(ruleset)


class _PathBeneath(ctypes.Structure):
    _pack_ = 1
    _fields_ = (("allowed_access", ctypes.c_uint64), ("parent_fd", ctypes.c_int32))


def _allow(ruleset: int, path: str, rights: int) -> None:
    try:
        fd = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except (FileNotFoundError, PermissionError):
        return
    try:
        if not stat.S_ISDIR(os.fstat(fd).st_mode):
            rights &= _OF_FILES
        rule = _PathBeneath(rights, fd)
        syscall(LANDLOCK_ADD, ruleset, _RULE_PATH_BENEATH, ctypes.byref(rule), 0)
    finally:
        os.close(fd)
