"""Attacks on whoever reads the answer, and on the jobs that come after."""

from __future__ import annotations

import contextlib
import json
import os
import pickle
import signal
import sys
import time
from pathlib import Path
from typing import Any


class _Gadget:
    """Loaded as a pickle it creates a file; whoever loads it has executed the attacker's choice."""

    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self) -> object:
        return (open, (self.path, "w"))


def _write_all(fd: int, text: bytes) -> None:
    while text:
        text = text[os.write(fd, text) :]


def _give(text: bytes) -> None:
    """Put a text where the answer is awaited, by every way there may be, and end."""
    for name in ("answer.json", "answer.tmp", "answer"):
        with contextlib.suppress(OSError):
            Path(name).write_bytes(text)
    for fd in range(3, 64):
        with contextlib.suppress(OSError):
            os.set_blocking(fd, True)
            _write_all(fd, text)
    os._exit(0)


def pickle_as_answer(goal: dict[str, Any]) -> object:
    """The answer is a pickle that runs a function when loaded."""
    _give(pickle.dumps(_Gadget(goal["pwned"])))
    return None


def pickle_as_weights(goal: dict[str, Any]) -> object:
    """The weights file is a pickle that runs a function when loaded."""
    for name in ("weights.safetensors", "weights.pt", "logits.safetensors"):
        Path(name).write_bytes(pickle.dumps(_Gadget(goal["pwned"])))
    return None


def oversized_answer(goal: dict[str, Any]) -> object:
    """An answer of 100 MB."""
    return {"x" * 10: "y" * 100_000_000}


def oversized_raw_answer(goal: dict[str, Any]) -> object:
    """An answer of 100 MB that is written past the cage's own code."""
    _give(b'{"answer": {"x": "' + b"y" * 100_000_000 + b'"}}')
    return None


def deeply_nested_answer(goal: dict[str, Any]) -> object:
    """An answer nested deeper than a parser's stack."""
    _give(b'{"answer": ' + b'{"x":' * 200_000 + b"1" + b"}" * 200_000 + b"}")
    return None


def answer_without_numbers(goal: dict[str, Any]) -> object:
    """NaN and Infinity, which compare as the attacker likes."""
    _give(b'{"answer": {"loss": NaN, "score": Infinity}}')
    return None


def huge_integer(goal: dict[str, Any]) -> object:
    """An integer of a million digits."""
    _give(b'{"answer": {"n": ' + b"9" * 1_000_000 + b"}}")
    return None


def answer_that_is_no_object(goal: dict[str, Any]) -> object:
    """A list instead of an object."""
    _give(b'["answer"]')
    return None


def answer_that_is_no_text(goal: dict[str, Any]) -> object:
    """Bytes that are no UTF-8."""
    _give(b'{"answer": {"\xff\xfe": 1}}')
    return None


def half_an_answer(goal: dict[str, Any]) -> object:
    """An answer that ends in the middle."""
    _give(b'{"answer": {"x": ')
    return None


def two_answers(goal: dict[str, Any]) -> object:
    """Two answers, one after the other."""
    _give(b'{"answer": {"x": 1}}\n{"answer": {"forged": true}}')
    return None


def answer_blames_the_host(goal: dict[str, Any]) -> object:
    """A failure of the design that is reported as one of the machine, to be tried again for ever."""
    _give(b'{"cause": "infrastructure", "message": "disk full"}')
    return None


def answer_is_a_symlink(goal: dict[str, Any]) -> object:
    """The answer file points at the owner's key file."""
    for name in ("answer.json", "answer.tmp"):
        Path(name).unlink(missing_ok=True)
        os.symlink(goal["secret_files"][2], name)
    os._exit(0)


def answer_is_a_fifo(goal: dict[str, Any]) -> object:
    """The answer file is a pipe on which its reader waits for ever."""
    Path("answer.json").unlink(missing_ok=True)
    os.mkfifo("answer.json")
    os._exit(0)


def log_is_a_symlink(goal: dict[str, Any]) -> object:
    """The log points at the owner's key file, so that the failure's message quotes it."""
    for name in ("log.txt", "log"):
        Path(name).unlink(missing_ok=True)
        os.symlink(goal["secret_files"][0], name)
    os._exit(1)


def temporary_answer_is_a_symlink(goal: dict[str, Any]) -> object:
    """The file into which the cage writes is a link to a file outside."""
    for name in ("answer.tmp", "answer.json.tmp", ".answer.json"):
        os.symlink(goal["target"], name)
    return None


def scratch_is_renamed(goal: dict[str, Any]) -> object:
    """The scratch folder is moved and a link to the home folder put in its place."""
    here = os.getcwd()
    os.rename(here, here + ".moved")
    os.symlink(goal["home"], here)
    return None


def races_the_answer(goal: dict[str, Any]) -> object:
    """A child swaps the answer for a link again and again while it is written."""
    if os.fork() == 0:
        end = time.monotonic() + 1
        while time.monotonic() < end:
            for name in ("answer.json", "answer.tmp"):
                try:
                    os.symlink(goal["target"], name + ".new")
                    os.rename(name + ".new", name)
                except OSError:
                    pass
        os._exit(0)
    time.sleep(0.3)
    return None


def patched_clocks(goal: dict[str, Any]) -> object:
    """Clocks that stand still, for the jobs to come."""
    time.time = time.monotonic = time.perf_counter = lambda: 0.0  # type: ignore[assignment]
    return None


def patched_json(goal: dict[str, Any]) -> object:
    """A json module that says what the attacker wants, for the jobs to come."""
    json.loads = json.dumps = lambda *_, **__: '{"forged": true}'  # type: ignore[assignment]
    return None


def patched_torch(goal: dict[str, Any]) -> object:
    """A loss that is always zero, for the jobs to come."""
    import torch

    torch.nn.functional.cross_entropy = lambda *_, **__: torch.zeros(())  # type: ignore[assignment]
    return None


def patched_checker(goal: dict[str, Any]) -> object:
    """A checker that finds nothing, for the jobs to come."""
    import genesys.errors

    genesys.errors.Finding.to_json = lambda self: {}  # type: ignore[method-assign]
    genesys.errors.JobFailed = ValueError  # type: ignore[misc, assignment]
    return None


def import_hook(goal: dict[str, Any]) -> object:
    """A finder that serves the attacker's modules, for the jobs to come."""

    class Finder:
        def find_spec(self, *_: object) -> None:
            sys.modules["forged"] = sys

    sys.meta_path.insert(0, Finder())  # type: ignore[arg-type]
    os.environ["LD_PRELOAD"] = os.getcwd() + "/evil.so"
    os.environ["PYTHONSTARTUP"] = os.environ["PYTHONPATH"] = os.getcwd()
    Path("sitecustomize.py").write_text("raise SystemExit('hijacked')")
    return None


def exit_handler(goal: dict[str, Any]) -> object:
    """Work left for the end of the process: atexit and a destructor."""
    import atexit

    class Late:
        def __del__(self) -> None:
            Path(goal["home"], "by-destructor").touch()

    atexit.register(Path(goal["home"], "at-exit").touch)
    goal["late"] = Late()
    sys.modules["late"] = goal["late"]
    raise SystemExit(0)


def system_exit(goal: dict[str, Any]) -> object:
    """SystemExit, which is no Exception."""
    raise SystemExit(0)


def keyboard_interrupt(goal: dict[str, Any]) -> object:
    """KeyboardInterrupt, which is no Exception either."""
    raise KeyboardInterrupt


def exit_without_a_word(goal: dict[str, Any]) -> object:
    """An end without an answer that looks like a success."""
    os._exit(0)


def abort(goal: dict[str, Any]) -> object:
    """SIGABRT."""
    os.abort()


def null_pointer(goal: dict[str, Any]) -> object:
    """A segmentation fault."""
    import ctypes

    return ctypes.string_at(0)


def stack_overflow(goal: dict[str, Any]) -> object:
    """A recursion without end and without Python's limit."""
    sys.setrecursionlimit(1 << 30)

    def deeper(n: int) -> int:
        return deeper(n + 1) + 1

    return deeper(0)


def kills_itself(goal: dict[str, Any]) -> object:
    """SIGKILL on itself, which looks like a killed host."""
    os.kill(os.getpid(), signal.SIGKILL)
    return None


def error_with_a_hostile_text(goal: dict[str, Any]) -> object:
    """An exception whose text raises."""

    class Hostile(Exception):
        def __str__(self) -> str:
            raise SystemExit("from __str__")

    raise Hostile


def error_with_a_huge_text(goal: dict[str, Any]) -> object:
    """An exception whose text is 100 MB."""
    raise ValueError("x" * 100_000_000)


def blames_the_host(goal: dict[str, Any]) -> object:
    """An error that is the user's or the machine's wherever we raise it ourselves."""
    from genesys.errors import ConfigError

    raise ConfigError("Cannot open the shards: the disk is gone.")


def forged_outcome(goal: dict[str, Any]) -> object:
    """The keeper's own record of how the job ended, written beside the scratch folder."""
    for name in ("outcome.json", "answer.bin", "log.txt", "request.json"):
        with contextlib.suppress(OSError):
            Path("..", name).write_text('{"code": 0, "ended_by": "deadline", "message": "forged"}')
    return None


def setuid_file_left_behind(goal: dict[str, Any]) -> object:
    """A program in the folder of checkpoints that runs as its owner, whoever starts it."""
    path = Path(goal["writable"], "program")
    path.write_bytes(Path(sys.executable).read_bytes()[:4096])
    with contextlib.suppress(OSError):
        path.chmod(0o6755)
    os.close(os.open(path.with_name("other"), os.O_CREAT | os.O_WRONLY, 0o4755))
    return None


def disk_hog_in_checkpoints(goal: dict[str, Any]) -> object:
    """A gigabyte in the folder of checkpoints."""
    block = b"x" * (16 << 20)
    for index in range(64):
        Path(goal["writable"], f"part-{index}").write_bytes(block)
    time.sleep(0.5)
    return "a gigabyte in the folder of checkpoints"


def inode_bomb_in_checkpoints(goal: dict[str, Any]) -> object:
    """More files in the folder of checkpoints than the policy gives."""
    for index in range(goal["n_scratch_files"] * 2 + 200):
        Path(goal["writable"], f"empty-{index}").touch()
    time.sleep(0.5)
    return "the folder of checkpoints holds more files than the policy gives"


def links_in_checkpoints(goal: dict[str, Any]) -> object:
    """Hard links to the owner's files in the folder of checkpoints, which the owner cleans and hands over."""
    os.link(goal["target"], Path(goal["writable"], "linked"))
    return None
