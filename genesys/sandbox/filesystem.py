"""What a job may see of the file system, and its own root made of nothing else."""

from __future__ import annotations

import contextlib
import errno
import glob
import os
import shutil
import stat
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from pathlib import Path

from genesys.sandbox import kernel
from genesys.sandbox.policy import Policy

_SYSTEM = (
    "/usr/lib", "/usr/lib64", "/usr/local/lib", "/usr/share/zoneinfo", "/lib", "/lib64", "/etc/ld.so.cache",
    "/etc/localtime", "/sys/devices/system/cpu", "/sys/devices/system/node",
)  # fmt: skip
_DEVICES = ("/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom")
_GPU_DEVICES = ("/dev/nvidia*", "/dev/nvidia-caps/*")
_GPU_FILES = ("/proc/driver/nvidia", "/sys/bus/pci/devices", "/sys/devices/pci*", "/sys/module/nvidia*")


@lru_cache(maxsize=1)  # asked first while every file can still be read
def interpreter_paths() -> tuple[str, ...]:
    """Where this interpreter, its packages and the package `genesys` lie; never the folder above a checkout."""
    ours = Path(__file__).resolve().parents[1]
    packages = {sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")}
    above = {str(folder) for folder in ours.parents} - packages
    paths = {*packages, sys.prefix, sys.base_prefix, str(ours), *filter(None, sys.path)}
    paths |= {os.path.realpath(path) for path in paths}
    return tuple(outermost(path for path in paths - above if os.path.exists(path)))


def readable_paths(policy: Policy) -> tuple[str, ...]:
    """Every file and folder that a job may read."""
    gpu = _matches(_GPU_FILES) if policy.gpu else ()
    return tuple(path for path in (*interpreter_paths(), *_SYSTEM, *policy.readable, *gpu) if os.path.exists(path))


def device_paths(policy: Policy) -> tuple[str, ...]:
    """The device nodes that a job may open."""
    return (*_DEVICES, *(_matches(_GPU_DEVICES) if policy.gpu else ()))


def build_root(at: str, policy: Policy, scratch: str) -> None:
    """Make a root of read-only binds in this mount namespace, with size-capped temporary files, and move there.

    Every path keeps its name; /proc shows this PID namespace, so call it from inside of one. `scratch`, `/tmp` and
    `/dev/shm` are one memory file system of the policy's size.

    Raises:
        OSError: The kernel refused a mount.
    """
    kernel.mount("none", "/", "", kernel.MS_REC | kernel.MS_PRIVATE)
    limits = f"size={policy.scratch_mb}m,nr_inodes={policy.n_scratch_files + 200},mode=755"
    kernel.mount("genesys", at, "tmpfs", kernel.MS_NOSUID | kernel.MS_NODEV, limits)
    for path in outermost(readable_paths(policy)):
        _bind(at, path, read_only=True)
    for path in policy.writable:
        _bind(at, path, read_only=False)
    for path in device_paths(policy):
        _bind(at, path, read_only=False)
    for folder in (scratch, "/tmp", "/dev/shm"):
        os.makedirs(at + folder, exist_ok=True)
        os.chmod(at + folder, 0o1777)
    os.makedirs(at + "/proc", exist_ok=True)
    with contextlib.suppress(OSError):  # in some containers: then a job sees no /proc at all
        kernel.mount("proc", at + "/proc", "proc", kernel.MS_NOSUID | kernel.MS_NODEV | kernel.MS_NOEXEC)
    kernel.pivot_root(at)


def outermost(paths: Iterable[str]) -> list[str]:
    """The paths that do not lie below another of them, sorted."""
    kept: list[str] = []
    for path in sorted(paths):
        if not any(path == other or path.startswith(other.rstrip("/") + "/") for other in kept):
            kept.append(path)
    return kept


def usage(folders: Sequence[str], pids: Iterable[int] = ()) -> tuple[int, int]:
    """Bytes and files below some folders, and bytes of files that have no name any more but are open in some processes.

    Links are not followed, what vanishes meanwhile is not counted; a path too long to look at counts as endless.
    """
    n_bytes, n_files = _nameless_bytes(pids), 0
    try:
        for entry in _walk(folders):
            with contextlib.suppress(OSError):
                n_bytes += entry.stat(follow_symlinks=False).st_blocks * 512
                n_files += 1
    except PathTooLong:
        n_files = sys.maxsize
    return n_bytes, n_files


@contextlib.contextmanager
def shared_folder(prefix: str) -> Iterator[Path]:
    """A temporary folder for files that cross between a job and its owner; a job that is another user passes through."""
    folder = Path(tempfile.mkdtemp(prefix=prefix))
    folder.chmod(0o711)
    try:
        yield folder
    finally:
        remove_tree(folder)


def remove_tree(folder: Path | str) -> None:
    """Delete a folder and all below it, as far as this user may, however deep a job made it."""
    try:
        shutil.rmtree(folder)
    except (OSError, RecursionError):
        subprocess.run(["rm", "-rf", "--", str(folder)], stderr=subprocess.DEVNULL, check=False)


def hand_over(folders: Sequence[str], uid: int) -> None:
    """Make a user the owner of some folders and of all below them; links themselves, not what they point at."""
    for folder in folders:
        os.chown(folder, uid, uid, follow_symlinks=False)
    with contextlib.suppress(PathTooLong):  # what lies so deep is the job's loss
        _own(folders, uid)


def _own(folders: Sequence[str], uid: int) -> None:
    for entry in _walk(folders):
        with contextlib.suppress(OSError):  # gone meanwhile
            if entry.stat(follow_symlinks=False).st_nlink == 1 or entry.is_dir(follow_symlinks=False):
                os.chown(entry.path, uid, uid, follow_symlinks=False)


def _walk(folders: Sequence[str]) -> Iterator[os.DirEntry[str]]:
    pending = list(folders)
    while pending:
        try:
            with os.scandir(pending.pop()) as entries:
                for entry in entries:
                    yield entry
                    if entry.is_dir(follow_symlinks=False):
                        pending.append(entry.path)
        except OSError as error:
            if error.errno == errno.ENAMETOOLONG:
                raise PathTooLong(error.errno, "a path too long to look at") from None


class PathTooLong(OSError):
    """A folder lies deeper than this system can name."""


def _nameless_bytes(pids: Iterable[int]) -> int:
    sizes: dict[tuple[int, int], int] = {}
    for pid in pids:
        with contextlib.suppress(OSError):
            for descriptor in os.listdir(f"/proc/{pid}/fd"):
                with contextlib.suppress(OSError):
                    found = os.stat(f"/proc/{pid}/fd/{descriptor}")
                    if stat.S_ISREG(found.st_mode) and found.st_nlink == 0:
                        sizes[found.st_dev, found.st_ino] = found.st_blocks * 512
    return sum(sizes.values())


def _bind(root: str, path: str, *, read_only: bool) -> None:
    if os.path.islink(path):
        os.makedirs(os.path.dirname(root + path), exist_ok=True)
        os.symlink(os.readlink(path), root + path)
        return
    target = root + path
    if os.path.isdir(path):
        os.makedirs(target, exist_ok=True)
    else:
        os.makedirs(os.path.dirname(target), exist_ok=True)
        with open(target, "ab"):
            pass
    kernel.bind(path, target, read_only=read_only)


def _matches(patterns: Sequence[str]) -> tuple[str, ...]:
    return tuple(path for pattern in patterns for path in sorted(glob.glob(pattern)))
