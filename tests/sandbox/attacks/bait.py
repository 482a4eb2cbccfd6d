"""What an attacker would like to have, laid out so that a success is seen from outside."""

from __future__ import annotations

import ctypes
import hashlib
import json
import os
import random
import selectors
import shutil
import socket
import stat
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import psutil

_VARIABLE = "BAIT_API_KEY"
_VICTIM = """
import ctypes, os, sys, time
held = open(sys.argv[1])
text = ctypes.create_string_buffer(sys.argv[2].encode(), 64)
print(ctypes.addressof(text), flush=True)
while os.getppid() == int(sys.argv[3]):
    time.sleep(0.2)
"""
_IPC_CREAT, _IPC_RMID = 0o1000, 0


class Bait:
    """Secrets, files, listeners and a victim process for one attack. Use it as a context manager.

    Args:
        cages: The folder under which the cage keeps its jobs' folders.
        limits: The policy's limits that bombs must pass, by the names of `Policy`.
    """

    def __init__(self, cages: Path, **limits: int) -> None:
        self._random = random.Random()
        tag = f"{self._random.getrandbits(32):08x}"
        self.secret, self.comm, self.cages, self._limits = f"key-{tag}-of-the-owner", f"bait-{tag}", cages, limits
        # Not in the temporary folder, which a cage may hide as a whole: a home folder lies elsewhere.
        self.folder = Path(tempfile.mkdtemp(prefix="bait-", dir="/var/tmp"))
        self.folder.chmod(0o755)  # what only its mode protects is said so file by file
        self.home, self.writable = self.folder / "home", self.folder / "checkpoints"
        self.writable.mkdir()
        self._tmp_file = Path(tempfile.gettempdir(), f"created-{tag}")
        self._shm_file, self._plasma = Path("/dev/shm", f"created-{tag}"), Path("/dev/shm", f"plasma-{tag}")
        self._pwned = self.folder / "pwned"
        self._shm_key = self._random.getrandbits(30) & ~1
        self.touched: list[str] = []
        self.peak_processes = self.peak_cages_mb = 0
        self._ended = threading.Event()

    def __enter__(self) -> Bait:
        self._lay_out_files()
        self._listeners = self._listen()
        self._start_victim()
        self._segment = self._make_segment()
        self._before = self._outside()
        self._watcher = threading.Thread(target=self._watch, daemon=True)
        self._watcher.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._watcher.join()
        self._victim.kill()
        self._victim.communicate()
        for listener in self._listeners:
            listener.close()
        for key in (self._shm_key, self._shm_key + 1):
            _remove_segment(key)
        for path in (self._tmp_file, self._shm_file, self._plasma):
            path.unlink(missing_ok=True)
        for process in self.left_behind():
            process.kill()
        shutil.rmtree(self.folder, ignore_errors=True)

    def goal(self) -> dict[str, Any]:
        """Where everything lies. The secret is told backwards, so that to repeat it proves nothing."""
        home = self.home
        return self._limits | {
            "secret": self.secret[::-1],
            "comm": self.comm,
            "variable": _VARIABLE,
            "owner": os.getpid(),
            "victim": self._victim.pid,
            "victim_address": self._victim_address,
            "home": str(home),
            "secret_files": [str(home / name) for name in ("id_key", "notes.txt", "answer.json")],
            "target": str(home / "document.txt"),
            "mount_point": str(home / "mnt"),
            "test_split": str(home / "data/test.bin"),
            "journal": str(home / "run/journal"),
            "weights": str(home / "run/weights.safetensors"),
            "pwned": str(self._pwned),
            "cages": str(self.cages),
            "writable": str(self.writable),
            "tmp_file": str(self._tmp_file),
            "shm_file": str(self._shm_file),
            "plasma": str(self._plasma),
            "shm_key": self._shm_key,
            "tcp_port": self._tcp_port,
            "udp_port": self._udp_port,
            "bind_port": self._bind_port,
            "abstract": self.comm,
            "disk": self.folder.stat().st_dev,
            "socket": str(home / "engine.sock"),
            "ray": str(home / "ray"),
        }

    def breaches(self) -> list[str]:
        """What can be seen from outside to have happened that must not."""
        found = [f"touched {name}" for name in self.touched]
        after = self._outside()
        found += [
            f"changed {name}" for name in sorted({*self._before, *after}) if self._before.get(name) != after.get(name)
        ]
        found += [f"created {path}" for path in (self._tmp_file, self._shm_file, self._pwned) if path.exists()]
        if _libc.shmget(self._shm_key + 1, 0, 0) >= 0:
            found.append("left a shared memory segment behind")
        found += [f"left {path.name} to run as this user" for path in self.writable.iterdir() if _lends_its_owner(path)]
        found += self._harm_to_victim()
        if (n := len(self._wait_for_end())) > 0:
            found.append(f"left {n} processes behind")
        if self.peak_processes > self._limits["n_processes"] + 4:
            found.append(f"held {self.peak_processes} processes at once")
        if self.peak_cages_mb > self._limits["scratch_mb"] + 64:
            found.append(f"held {self.peak_cages_mb} MiB of the disk")
        return found

    def left_behind(self) -> list[psutil.Process]:
        """Processes of the attack that still live."""
        return [process for process in map(_process, _pids_named(self.comm)) if process is not None]

    def _lay_out_files(self) -> None:
        for folder in ("data", "run", "mnt", "ray/session_latest/sockets"):
            (self.home / folder).mkdir(parents=True)
        texts = {
            "id_key": (self.secret, 0o600),
            "notes.txt": (f"the key is {self.secret}", 0o644),
            "answer.json": (json.dumps({"answer": {"key": self.secret}}), 0o644),
            "document.txt": ("a year of work", 0o644),
            ".profile": ("# the shell's\n", 0o644),
            "data/test.bin": (f"test tokens {self.secret}", 0o644),
            "run/journal": (f'{{"event": "{self.secret}"}}\n', 0o644),
            "run/weights.safetensors": (f"weights {self.secret}", 0o644),
        }
        for name, (text, mode) in texts.items():
            (self.home / name).write_text(text)
            (self.home / name).chmod(mode)
        self._plasma.write_text(self.secret)

    def _listen(self) -> list[socket.socket]:
        tcp, udp = socket.create_server(("127.0.0.1", 0)), socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        udp.bind(("127.0.0.1", 0))
        with socket.create_server(("127.0.0.1", 0)) as free:
            self._bind_port = free.getsockname()[1]
        self._tcp_port, self._udp_port = tcp.getsockname()[1], udp.getsockname()[1]
        listeners, sockets = [tcp, udp], self.home / "ray/session_latest/sockets"
        for address in (
            "\0" + self.comm,
            str(self.home / "engine.sock"),
            *(str(sockets / n) for n in ("raylet", "plasma_store")),
        ):
            listener = socket.socket(socket.AF_UNIX)
            listener.bind(address)
            listener.listen()
            listeners.append(listener)
        for listener in listeners:
            listener.setblocking(False)
        return listeners

    def _start_victim(self) -> None:
        command = [sys.executable, "-S", "-c", _VICTIM, str(self.home / "id_key"), self.secret, str(os.getpid())]
        environment = {"PATH": os.environ.get("PATH", ""), _VARIABLE: self.secret}
        self._victim = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE)
        assert self._victim.stdout is not None
        self._victim_address = int(self._victim.stdout.readline())
        self._victim_before = self._victim_state()

    def _victim_state(self) -> dict[str, Any]:
        process, folder = psutil.Process(self._victim.pid), Path(f"/proc/{self._victim.pid}")
        status = (folder / "status").read_text()
        return {
            "priority": process.nice(),
            "processors": process.cpu_affinity(),
            "oom_score_adj": (folder / "oom_score_adj").read_text(),
            "limits": (folder / "limits").read_text(),
            "stopped": process.status() in (psutil.STATUS_STOPPED, psutil.STATUS_TRACING_STOP),
            "tracer": next(line for line in status.splitlines() if line.startswith("TracerPid")),
        }

    def _harm_to_victim(self) -> list[str]:
        if self._victim.poll() is not None:
            return ["killed the victim"]
        after = self._victim_state()
        return [f"changed the victim's {key}" for key, value in self._victim_before.items() if after[key] != value]

    def _make_segment(self) -> int:
        identifier = _libc.shmget(self._shm_key, 64, 0o600 | _IPC_CREAT)
        address = _libc.shmat(identifier, None, 0)
        ctypes.memmove(address, self.secret.encode(), len(self.secret))
        _libc.shmdt(ctypes.c_void_p(address))
        return int(identifier)

    def _outside(self) -> dict[str, tuple[Any, ...]]:
        """Mode, size, links, owner, time of change and digest of everything in the home folder."""
        seen: dict[str, tuple[Any, ...]] = {}
        for path in sorted(self.home.rglob("*")):
            found = path.lstat()
            digest = hashlib.sha256(path.read_bytes()).hexdigest() if stat.S_ISREG(found.st_mode) else ""
            times = (found.st_mtime_ns, found.st_ctime_ns) if stat.S_ISREG(found.st_mode) else ()
            seen[str(path.relative_to(self.home))] = (
                found.st_mode,
                found.st_size,
                found.st_nlink,
                found.st_uid,
                times,
                digest,
            )
        return seen

    def _watch(self) -> None:
        names = ("the TCP server", "the UDP server", "the abstract socket", "the socket", "the raylet", "the store")
        with selectors.DefaultSelector() as selector:
            for listener, name in zip(self._listeners, names, strict=True):
                selector.register(listener, selectors.EVENT_READ, name)
            while not self._ended.is_set():
                for key, _ in selector.select(0.08):
                    self.touched.append(key.data)
                    selector.unregister(key.fileobj)
                if _connects(self._bind_port) and "a listening port" not in self.touched:
                    self.touched.append("a listening port")
                self.peak_processes = max(self.peak_processes, len(_pids_named(self.comm)))
                self.peak_cages_mb = max(self.peak_cages_mb, _size_mb(self.cages))

    def _wait_for_end(self) -> list[psutil.Process]:
        deadline = time.monotonic() + 1.0
        while (left := self.left_behind()) and time.monotonic() < deadline:
            time.sleep(0.02)
        return left


_libc = ctypes.CDLL(None, use_errno=True)
_libc.shmat.restype = ctypes.c_void_p


def _lends_its_owner(path: Path) -> bool:
    """Whether a program would run as this user, whoever starts it; a job's own user has nothing to lend."""
    found = path.lstat()
    return bool(found.st_mode & (stat.S_ISUID | stat.S_ISGID)) and found.st_uid == os.geteuid()


def _remove_segment(key: int) -> None:
    identifier = _libc.shmget(key, 0, 0)
    if identifier >= 0:
        _libc.shmctl(identifier, _IPC_RMID, None)


def _connects(port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0


def _pids_named(comm: str) -> list[int]:
    """Processes that carry the mark as their name, or as part of their command line; zombies are dead."""
    found = []
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit() or int(folder.name) == os.getpid():
            continue
        try:
            state = (folder / "stat").read_text().rpartition(")")[2].split()[0]
            named = (folder / "comm").read_text().strip() == comm or comm in (folder / "cmdline").read_text()
        except (OSError, ValueError):
            continue
        if named and state not in "ZX":
            found.append(int(folder.name))
    return found


def _process(pid: int) -> psutil.Process | None:
    try:
        return psutil.Process(pid)
    except psutil.NoSuchProcess:
        return None


def _size_mb(folder: Path) -> int:
    total = 0
    for place, folders, names in os.walk(folder):
        if place.count("/") - str(folder).count("/") > 3:
            folders.clear()
        for name in names:
            try:
                total += os.lstat(os.path.join(place, name)).st_blocks * 512
            except OSError:
                continue
    return total >> 20
