"""A model server as a supervised child process: watched, started again when it dies or stops answering, ended with its parent.

Does not cover: a server that answers its health probe and nothing else.
"""

from __future__ import annotations

import contextlib
import ctypes
import logging
import os
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from genesys.errors import TransientError
from genesys.llm.served import deregister, register

log = logging.getLogger(__name__)

_PR_SET_PDEATHSIG = 1
_TAIL = 2000  # characters of the log that a message quotes


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """How long a server is waited for, in seconds.

    Attributes:
        start_s: Until it first answers; weights may have to be read, or fetched.
        probe_every_s, probe_s: Between two health probes, and for each.
        n_silent: Probes in a row without an answer until it counts as hung.
        backoff_s, most_backoff_s: Before the first restart, doubled with each until the longest.
        n_starts: Starts in a row that came to nothing until it is given up.
        end_s: Between the request to end and the kill.
    """

    start_s: float = 1800.0
    probe_every_s: float = 5.0
    probe_s: float = 10.0
    n_silent: int = 6
    backoff_s: float = 1.0
    most_backoff_s: float = 60.0
    n_starts: int = 5
    end_s: float = 20.0


@dataclass(kw_only=True)
class ServerProcess:
    """One server; `run` keeps it alive until it is stopped, in the thread that calls it.

    Guarantees: it is registered under its name exactly while it answers, as far as probes tell, and dies with the thread that
    runs it (on Linux, with its whole group where that thread ends in order).

    Attributes:
        name: To register it by.
        root: Its URL without a path; `/health` and `/v1` are below.
        log_file: Where its output goes.
        on_change: Told `ready`, `died` or `silent`, and why.
        n_restarts: Since it was started.
    """

    name: str
    command: Sequence[str]
    root: str
    log_file: Path
    env: Mapping[str, str] = field(default_factory=dict)
    patience: Patience = field(default_factory=Patience)
    registry: Path | None = None
    on_change: Callable[[str, str], None] = lambda what, why: None
    n_restarts: int = 0
    is_ready: bool = False

    def __post_init__(self) -> None:
        self._stop = threading.Event()

    @property
    def url(self) -> str:
        """What a client is pointed at."""
        return f"{self.root}/v1"

    def stop(self) -> None:
        """Have `run` end the server and return."""
        self._stop.set()

    def run(self) -> None:
        """Keep the server alive until `stop`.

        Raises:
            TransientError: It cannot be started, or comes to nothing again and again.
        """
        in_vain = 0
        while not self._stop.is_set():
            was_ready, why = self._live()
            if self._stop.is_set():
                return
            in_vain = 0 if was_ready else in_vain + 1
            if in_vain >= self.patience.n_starts:
                raise TransientError(
                    f"Cannot serve {self.name!r}: {why}, {in_vain} times in a row. The end of {self.log_file}:\n{self._tail()}"
                )
            self.n_restarts += 1
            wait_s = min(self.patience.most_backoff_s, self.patience.backoff_s * 2.0 ** max(0, in_vain - 1))
            log.warning("server %s: %s; starting it again in %.3g s", self.name, why, wait_s)
            self._stop.wait(wait_s)

    def _live(self) -> tuple[bool, str]:
        """One life of the server: whether it ever answered, and what ended it."""
        self.log_file.parent.mkdir(parents=True, exist_ok=True)
        with self.log_file.open("ab") as output:
            try:
                process = subprocess.Popen(
                    self.command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, env=dict(self.env) or None,
                    start_new_session=True, preexec_fn=_die_with_parent,
                )  # fmt: skip
            except OSError as error:
                raise TransientError(f"Cannot start {self.command[0]!r}: {error.strerror}.") from None
        try:
            return self._watch(process)
        finally:
            self.is_ready = False
            deregister(self.name, self.url, self.registry)
            _end_group(process, self.patience.end_s)

    def _watch(self, process: subprocess.Popen[bytes]) -> tuple[bool, str]:
        deadline, was_ready, n_silent = time.monotonic() + self.patience.start_s, False, 0
        while not self._stop.wait(self.patience.probe_every_s):
            if process.poll() is not None:
                why = f"it ended with code {process.returncode}"
                self.on_change("died", why)
                return was_ready, why
            if answers(f"{self.root}/health", self.patience.probe_s):
                n_silent = 0
                if not self.is_ready:
                    register(self.name, self.url, self.registry)
                    was_ready = self.is_ready = True
                    self.on_change("ready", self.url)
                continue
            n_silent += was_ready
            if n_silent >= self.patience.n_silent or (not was_ready and time.monotonic() > deadline):
                why = f"it did not answer at {self.root}/health"
                self.on_change("silent", why)
                return was_ready, why
        return was_ready, "it was stopped"

    def _tail(self) -> str:
        with contextlib.suppress(OSError):
            return self.log_file.read_bytes()[-_TAIL:].decode(errors="replace").strip()
        return ""


def answers(url: str, timeout_s: float) -> bool:
    """Whether a URL is answered with success."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # it is a host of ours
    try:
        with opener.open(url, timeout=timeout_s) as response:
            return bool(response.status == 200)
    except (OSError, urllib.error.URLError, ValueError):
        return False


def _end_group(process: subprocess.Popen[bytes], patience_s: float) -> None:
    """End a server with whatever it has started."""
    for request in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, request)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(patience_s)


_libc = ctypes.CDLL(None) if sys.platform == "linux" else None
_die_with_parent = partial(_libc.prctl, _PR_SET_PDEATHSIG, signal.SIGTERM) if _libc is not None else None
"""Looked up beforehand: little is safe between fork and exec."""
