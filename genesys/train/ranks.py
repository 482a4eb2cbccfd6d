"""One training on several processes, forked from this one and watched by it.

The processes meet over a file and loopback sockets; this one computes nothing, so it may wait for all of them at once and
end all of them when one ends badly. Linux ends them too when this one is killed; elsewhere they then wait for each other
until they give up.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import selectors
import signal
import sys
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from genesys.errors import INFRASTRUCTURE_CAUSES, JobFailed
from genesys.train.failures import failure_or_error
from genesys.train.world import Rank

_PR_SET_PDEATHSIG = 1
_LAST_WORDS_S = 2.0
"""How long the others may still say why they end after one has: the first to end is not always the one to blame."""


def run_ranks(work: Callable[[Rank], Mapping[str, Any]], n_ranks: int, store: Path) -> dict[str, Any]:
    """Run `work` in `n_ranks` forked processes; gives the answer of the first.

    Call it before this process has started threads or touched a card.

    Args:
        store: File over which they meet; made anew.

    Raises:
        JobFailed: One of them failed, with its cause, or died (cause "killed").
    """
    store.unlink(missing_ok=True)
    pids: dict[int, int] = {}  # where a rank writes -> its process
    with selectors.DefaultSelector() as selector:
        for i in range(n_ranks):
            pipe, pid = _fork(work, Rank(i, n_ranks, store))
            pids[pipe] = pid
            selector.register(pipe, selectors.EVENT_READ, i)
        try:
            answers = _collect(selector, pids)
        finally:
            _end(pids)
            store.unlink(missing_ok=True)
    failures = [answer for answer in answers if isinstance(answer, JobFailed)]
    if failures:
        raise min(failures, key=lambda failure: failure.cause in INFRASTRUCTURE_CAUSES)
    return next(answer for answer in answers if isinstance(answer, dict) and answer)


def _collect(selector: selectors.BaseSelector, pids: dict[int, int]) -> list[dict[str, Any] | JobFailed]:
    """What the ranks say, in the order in which they end; not all, once one has failed."""
    texts = {pipe: b"" for pipe in pids}
    answers: list[dict[str, Any] | JobFailed] = []
    while selector.get_map():
        has_failed = any(isinstance(answer, JobFailed) for answer in answers)
        ready = selector.select(_LAST_WORDS_S if has_failed else None)
        if not ready:
            break
        for key, _ in ready:
            data = os.read(key.fd, 1 << 16)
            texts[key.fd] += data
            if not data:
                selector.unregister(key.fd)
                answers.append(_answer(key.data, os.waitpid(pids.pop(key.fd), 0)[1], texts[key.fd]))
                os.close(key.fd)
    return answers


def _answer(index: int, status: int, text: bytes) -> dict[str, Any] | JobFailed:
    if os.waitstatus_to_exitcode(status) or not text:
        code = os.waitstatus_to_exitcode(status)
        return JobFailed("killed", f"Cannot go on: process {index} of the training ended with status {code}.")
    said: dict[str, Any] = json.loads(text)
    return JobFailed(said["cause"], said["message"]) if "cause" in said else said["answer"]


def _fork(work: Callable[[Rank], Mapping[str, Any]], rank: Rank) -> tuple[int, int]:
    """Start a rank; gives where its words can be read, and its process."""
    sys.stdout.flush()
    reader, writer = os.pipe()
    parent = os.getpid()
    pid = os.fork()
    if pid:
        os.close(writer)
        return reader, pid
    status = 1
    try:
        os.close(reader)
        _die_with(parent)
        with open(writer, "w", encoding="utf-8") as file:
            file.write(json.dumps(_say(work, rank)))
        status = 0
    finally:
        os._exit(status)


def _say(work: Callable[[Rank], Mapping[str, Any]], rank: Rank) -> dict[str, Any]:
    try:
        answer = work(rank)
        return {"answer": dict(answer) if rank.index == 0 else {}}
    except BaseException as error:  # the edge of this process; whose fault it was must reach the other side
        traceback.print_exc()
        failure = failure_or_error(error)
        return {"cause": failure.cause, "message": str(failure)}


def _die_with(parent: int) -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(1)


def _end(pids: Mapping[int, int]) -> None:
    """End the ranks that still run; a cage forbids it, and its keeper ends them right after this process."""
    for pipe, pid in pids.items():
        with contextlib.suppress(PermissionError):
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
        os.close(pipe)
