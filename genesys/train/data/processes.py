"""A function over many tasks in processes of this machine, which end when this one does."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.connection import wait
from typing import TypeVar

from genesys.errors import TransientError

Task = TypeVar("Task")
Result = TypeVar("Result")


def map_in_processes(
    function: Callable[[Task], Result], tasks: Sequence[Task], *, n_processes: int = 0
) -> Iterator[Result]:
    """The results as they come; a single task is done in this process. The first error ends the map.

    Args:
        function: Importable by name, as its tasks and results are pickled.
        n_processes: At most; 0 for as many as there are processors.

    Raises:
        TransientError: A process was killed, most often for want of memory.
    """
    n = min(len(tasks), n_processes or os.cpu_count() or 1)
    if n <= 1:
        yield from map(function, tasks)
        return
    context = multiprocessing.get_context("spawn")  # this process may have threads, which do not survive a fork
    pool = ProcessPoolExecutor(n, mp_context=context, initializer=_begin)
    try:
        for future in as_completed([pool.submit(function, task) for task in tasks]):
            yield future.result()
    except BrokenProcessPool:
        raise TransientError(
            "Cannot go on packing: a process was killed, perhaps for want of memory. Start again; what is packed stays packed."
        ) from None
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def _begin() -> None:
    """Die at once with the terminal's Ctrl-C, and with the parent; leave the other processors to the others."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    parent = multiprocessing.parent_process()
    assert parent is not None, "only a pool's process begins so"
    sentinel = parent.sentinel
    threading.Thread(target=lambda: (wait([sentinel]), os._exit(1)), daemon=True).start()
