"""Entries that the cage's tests run in children."""

from __future__ import annotations

import contextlib
import ctypes
import os
import resource
import signal
import socket
import time
from pathlib import Path
from typing import Any

from genesys.errors import JobFailed


def echo(request: dict[str, Any]) -> dict[str, Any]:
    print("whatever a job prints is no answer")
    return request


def environment(_: dict[str, Any]) -> dict[str, Any]:
    return {"names": sorted(os.environ)}


def raise_value_error(_: dict[str, Any]) -> dict[str, Any]:
    raise ValueError("nonsense")


def raise_system_exit(_: dict[str, Any]) -> dict[str, Any]:
    raise SystemExit(0)


def raise_memory_error(_: dict[str, Any]) -> dict[str, Any]:
    raise MemoryError


def raise_job_failed(_: dict[str, Any]) -> dict[str, Any]:
    raise JobFailed("non-finite", "loss is nan")


def segfault(_: dict[str, Any]) -> dict[str, Any]:
    ctypes.string_at(0)
    return {}


def end_itself_by_every_signal(_: dict[str, Any]) -> dict[str, Any]:
    for number in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(OSError):
            os.kill(os.getpid(), number)
        with contextlib.suppress(OSError):
            signal.raise_signal(number)
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_CPU, (1, 1))
    return spin({})


def sleep(_: dict[str, Any]) -> dict[str, Any]:
    time.sleep(60)
    return {}


def sleep_with_children(_: dict[str, Any]) -> dict[str, Any]:
    """Refuse to die: ignore every signal, start children that do so too, one of them orphaned, and stay."""
    for number in set(signal.Signals) - {signal.SIGKILL, signal.SIGSTOP}:
        signal.signal(number, signal.SIG_IGN)
    if os.fork() == 0 and os.fork() == 0:
        with contextlib.suppress(OSError):
            os.setsid()
        time.sleep(60)
    return sleep({})


def take_memory(_: dict[str, Any]) -> dict[str, Any]:
    held = [bytearray(b"x") * (10 << 20) for _ in range(120)]
    return {"n": len(held)}


def spin(_: dict[str, Any]) -> dict[str, Any]:
    while True:
        sum(range(1000))


def fill_scratch(_: dict[str, Any]) -> dict[str, Any]:
    for number in range(60):
        Path(f"file-{number}").write_bytes(b"x" * (1 << 20))
        time.sleep(0.02)
    return {}


def fill_scratch_with_files(_: dict[str, Any]) -> dict[str, Any]:
    for number in range(1200):
        Path(f"file-{number}").write_bytes(b"")
        time.sleep(0.001)
    return {}


def start_processes(_: dict[str, Any]) -> dict[str, Any]:
    for n in range(60):
        try:
            if os.fork() == 0:
                time.sleep(20)
        except OSError:
            return {"n": n}
    return {"n": 60}


def open_files(_: dict[str, Any]) -> dict[str, Any]:
    files: list[int] = []
    with contextlib.suppress(OSError):
        while len(files) < 100:
            files.append(os.open(os.devnull, os.O_RDONLY))
    return {"n": len(files)}


def write_one_file(_: dict[str, Any]) -> dict[str, Any]:
    with contextlib.suppress(OSError), open("big", "wb", buffering=0) as file:
        for _number in range(40):
            file.write(b"x" * (1 << 18))
    return {"n_bytes": os.path.getsize("big")}


def answer_without_end(_: dict[str, Any]) -> dict[str, Any]:
    return {"x": "x" * (40 << 20)}


def flood_log(_: dict[str, Any]) -> dict[str, Any]:
    for _number in range(200):
        print("y" * (1 << 18))
    os._exit(3)


def dig_deep(request: dict[str, Any]) -> dict[str, Any]:
    os.chdir(request["folder"])
    for _ in range(1500):
        os.mkdir("deep")
        os.chdir("deep")
    return sleep({})


def fill_nameless_files(request: dict[str, Any]) -> dict[str, Any]:
    files = []
    for number in range(60):
        path = Path(request["folder"], str(number))
        files.append(path.open("wb", buffering=0))
        path.unlink()
        files[-1].write(b"x" * (1 << 20))
    return sleep({})


def talk(request: dict[str, Any]) -> dict[str, Any]:
    """What comes of each kind of socket: the word that was heard, or the error."""

    def itself() -> str:
        with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()) as client:
            client.sendall(b"hello")
            return server.accept()[0].recv(5).decode()

    def host() -> str:
        with socket.create_connection(("127.0.0.1", request["outside"]), timeout=3):
            return "connected"

    def kind(*arguments: int) -> str:
        with socket.socket(*arguments):
            return "made"

    tries = {
        "to itself": itself,
        "to the host": host,
        "unix": lambda: kind(socket.AF_UNIX, socket.SOCK_STREAM),
        "ipv6": lambda: kind(socket.AF_INET6, socket.SOCK_STREAM),
        "netlink": lambda: kind(socket.AF_NETLINK, socket.SOCK_RAW, 16),
        "raw": lambda: kind(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP),
    }
    heard = {}
    for name, attempt in tries.items():
        try:
            heard[name] = attempt()
        except OSError as error:
            heard[name] = type(error).__name__
    return heard
