"""Attacks that change what lies outside the scratch folder. The harness looks at the outside afterwards."""

from __future__ import annotations

import ctypes
import os
import shutil
import sys
from pathlib import Path
from typing import Any

from tests.sandbox.attacks.prelude import syscall


def create_in_home(goal: dict[str, Any]) -> object:
    """A new file in the home folder."""
    Path(goal["home"] + "/created").write_text("x")
    return None


def overwrite_file(goal: dict[str, Any]) -> object:
    """An existing file, written over."""
    with open(goal["target"], "r+") as file:
        file.write("overwritten")
    return None


def truncate_file(goal: dict[str, Any]) -> object:
    """An existing file, truncated by path."""
    os.truncate(goal["target"], 0)
    return None


def chmod_file(goal: dict[str, Any]) -> object:
    """The mode of a key file, opened to everybody."""
    os.chmod(goal["target"], 0o777)
    return None


def chown_file(goal: dict[str, Any]) -> object:
    """The owner of a file, as far as this user may change it; else its times."""
    os.chown(goal["target"], 1, 1)
    return None


def touch_file(goal: dict[str, Any]) -> object:
    """The times of a file, set to the epoch."""
    os.utime(goal["target"], (0, 0))
    return None


def set_extended_attribute(goal: dict[str, Any]) -> object:
    """An extended attribute on a file outside."""
    os.setxattr(goal["target"], b"user.attack", b"1")
    return None


def delete_file(goal: dict[str, Any]) -> object:
    """A file outside, removed."""
    os.unlink(goal["target"])
    return None


def delete_tree(goal: dict[str, Any]) -> object:
    """The whole home folder, removed."""
    shutil.rmtree(goal["home"])
    return None


def rename_file(goal: dict[str, Any]) -> object:
    """A file outside, moved away."""
    os.rename(goal["target"], goal["target"] + ".moved")
    return None


def hard_link_in(goal: dict[str, Any]) -> object:
    """A hard link in scratch to a file outside, then a write through it."""
    os.link(goal["target"], "linked")
    with open("linked", "a") as file:
        file.write("through a link")
    return None


def symlink_out(goal: dict[str, Any]) -> object:
    """A symlink in scratch to a file outside, then a write through it."""
    os.symlink(goal["target"], "out")
    with open("out", "a") as file:
        file.write("through a symlink")
    return None


def symlink_planted_outside(goal: dict[str, Any]) -> object:
    """A symlink outside that points back into scratch."""
    os.symlink(os.getcwd(), goal["home"] + "/trap")
    return None


def mkdir_outside(goal: dict[str, Any]) -> object:
    """A folder in the home folder."""
    os.mkdir(goal["home"] + "/folder")
    return None


def mknod_outside(goal: dict[str, Any]) -> object:
    """A FIFO in the home folder, where something may wait on it for ever."""
    os.mkfifo(goal["home"] + "/fifo")
    return None


def device_node(goal: dict[str, Any]) -> object:
    """A device node of a disk in scratch, opened."""
    os.mknod("disk", 0o60600, goal["disk"])
    os.close(os.open("disk", os.O_RDONLY))
    return "opened a block device"


def file_in_tmp(goal: dict[str, Any]) -> object:
    """A file in the temporary folder that all users share."""
    Path(goal["tmp_file"]).write_text("x")
    return None


def file_in_shared_memory(goal: dict[str, Any]) -> object:
    """A file in /dev/shm, which other jobs map."""
    Path(goal["shm_file"]).write_text("x")
    return None


def own_package(goal: dict[str, Any]) -> object:
    """The sources of the checker, opened for writing; nothing is written."""
    import genesys.errors

    open(genesys.errors.__file__, "r+b").close()
    return "the package can be written"


def torch_package(goal: dict[str, Any]) -> object:
    """The sources of torch, opened for writing; nothing is written."""
    import torch

    open(torch.__file__, "r+b").close()
    return "torch can be written"


def site_packages_pth(goal: dict[str, Any]) -> object:
    """The folder where a .pth file would run in every later Python; the file has no name, so it leaves no trace."""
    folder = next(path for path in sys.path if path.endswith("site-packages"))
    os.close(os.open(folder, os.O_TMPFILE | os.O_RDWR, 0o600))
    return "site-packages can be written"


def start_files_of_the_shell(goal: dict[str, Any]) -> object:
    """Lines that the user's next shell or Python would run."""
    for name in (".profile", "sitecustomize.py", "usercustomize.py", "ld.so.preload"):
        with open(f"{goal['home']}/{name}", "a") as file:
            file.write("# planted\n")
    return None


def evaluation_data_poisoned(goal: dict[str, Any]) -> object:
    """The test split, replaced by what the design predicts well."""
    Path(goal["test_split"]).write_bytes(b"\0" * 64)
    return None


def journal_forged(goal: dict[str, Any]) -> object:
    """A line of the journal that commits a result."""
    with open(goal["journal"], "a") as file:
        file.write('{"committed": 1}\n')
    return None


def mount_over_home(goal: dict[str, Any]) -> object:
    """A tmpfs on the home folder, undone at once."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mount(b"none", goal["mount_point"].encode(), b"tmpfs", 0, b"size=64k") != 0:
        return None
    libc.umount2(goal["mount_point"].encode(), 2)
    return "mounted"


def user_namespace_then_mount(goal: dict[str, Any]) -> object:
    """A user and mount namespace of its own, in which everything may be mounted."""
    pid = os.fork()
    if pid == 0:
        libc = ctypes.CDLL(None, use_errno=True)
        os._exit(7 if libc.unshare(0x10000000 | 0x00020000) == 0 else 0)
    return "a user namespace was made" if os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 7 else None


def chroot_escape(goal: dict[str, Any]) -> object:
    """chroot into scratch, the first half of the classic way out of a root."""
    pid = os.fork()
    if pid == 0:
        try:
            os.chroot(".")
        except OSError:
            os._exit(0)
        os._exit(7)
    return "chroot works" if os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 7 else None


def pivot_root(goal: dict[str, Any]) -> object:
    """pivot_root with paths that cannot be: EINVAL or ENOENT tells that only the paths were wrong."""
    answer = syscall(155, b"/nowhere/new", b"/nowhere/old")
    return f"pivot_root is allowed ({answer})" if answer not in (-1, -13, -38) else None


def open_tree_and_move_mount(goal: dict[str, Any]) -> object:
    """The new mount interface: a detached copy of the whole tree."""
    tree = syscall(428, -100, b"/", 1 | 0x8000)
    return "the tree of mounts was cloned" if tree >= 0 else None


def sysctl(goal: dict[str, Any]) -> object:
    """A kernel setting, opened for writing; nothing is written."""
    os.close(os.open("/proc/sys/kernel/core_pattern", os.O_WRONLY))
    return "the core pattern can be written"


def kernel_settings_of_sys(goal: dict[str, Any]) -> object:
    """A file of /sys, opened for writing; nothing is written."""
    os.close(os.open("/sys/kernel/profiling", os.O_WRONLY))
    return "/sys can be written"


def core_dump_outside(goal: dict[str, Any]) -> object:
    """A core dump, asked for while the working folder is outside."""
    import resource

    os.chdir(goal["home"])
    resource.setrlimit(resource.RLIMIT_CORE, (1 << 20, 1 << 20))
    return "core dumps are allowed outside"
