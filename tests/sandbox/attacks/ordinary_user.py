"""`python -m tests.sandbox.attacks.ordinary_user COMMAND...`: run a Python command as a user without privileges.

Needs root. The interpreter may lie in a folder that others cannot enter, such as root's home: in a mount namespace of
its own such a folder is covered by an empty one that holds the interpreter alone. Nothing outside changes.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import stat
import sys
import tempfile
from pathlib import Path
from typing import NoReturn

UID = 12345
_CLONE_NEWNS, _MS_BIND, _MS_REC, _MS_PRIVATE = 0x00020000, 4096, 16384, 1 << 18
_libc = ctypes.CDLL(None, use_errno=True)


def become_ordinary(home: Path) -> None:
    """Give up root for good, with a home and a temporary folder of this user's own."""
    _check(_libc.unshare(_CLONE_NEWNS), "a mount namespace")
    _check(_libc.mount(None, b"/", None, _MS_REC | _MS_PRIVATE, None), "private mounts")
    for needed in {Path(sys.base_prefix).resolve(), Path(sys.prefix).resolve(), Path(__file__).resolve().parents[3]}:
        _open_way(needed)
    for folder in (home, home / "tmp"):
        folder.mkdir(exist_ok=True)
        os.chown(folder, UID, UID)
    os.environ |= {"HOME": str(home), "TMPDIR": str(home / "tmp"), "PYTHONDONTWRITEBYTECODE": "1"}
    os.setgroups([])
    os.setresgid(UID, UID, UID)
    os.setresuid(UID, UID, UID)


def _open_way(needed: Path) -> None:
    """Cover the first folder on the way that others cannot enter."""
    closed = next((p for p in reversed(needed.parents) if not p.stat().st_mode & stat.S_IXOTH), None)
    if closed is None:
        return
    aside = Path(tempfile.mkdtemp(prefix="aside-"))
    _check(_libc.mount(bytes(needed), bytes(aside), None, _MS_BIND | _MS_REC, None), f"{needed} set aside")
    _check(_libc.mount(b"none", bytes(closed), b"tmpfs", 0, b"size=1m,mode=755"), f"{closed} covered")
    needed.mkdir(parents=True)
    _check(_libc.mount(bytes(aside), bytes(needed), None, _MS_BIND | _MS_REC, None), f"{needed} put back")
    _check(_libc.umount2(bytes(aside), 2), "the bind mount taken away")
    aside.rmdir()


def _check(answer: int, what: str) -> None:
    if answer != 0:
        raise OSError(ctypes.get_errno(), f"Cannot have {what}: {os.strerror(ctypes.get_errno())}")


def main(command: list[str]) -> NoReturn:
    """Become the user in a child, run the command there, and tidy up."""
    home = Path(tempfile.mkdtemp(prefix="ordinary-"))
    home.chmod(0o755)
    pid = os.fork()
    if pid == 0:
        become_ordinary(home / "home")
        os.execv(sys.executable, [sys.executable, *command])
    _, status = os.waitpid(pid, 0)
    shutil.rmtree(home, ignore_errors=True)
    raise SystemExit(os.waitstatus_to_exitcode(status))


if __name__ == "__main__":
    main(sys.argv[1:])
