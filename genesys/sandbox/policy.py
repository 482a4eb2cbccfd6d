"""What one job in the cage may use."""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """Limits of one job. Sizes in MiB; paths are absolute.

    Attributes:
        deadline_s: Wall clock from the request to the answer; the whole process tree is killed then.
        cpu_s: CPU seconds of each process; 0 for no limit beyond the deadline.
        memory_mb: Of all processes together.
        n_processes: Processes and threads at once, those of torch included.
        file_mb: Size of any one file.
        scratch_mb, n_scratch_files: Of the job's own folder, its temporary files, and what it adds to `writable`.
        gpu: Whether the device nodes of CUDA may be opened.
        loopback: Whether the job's processes may talk to each other by TCP, in a network of their own; only where there is
            a network namespace.
        readable: Files and folders beyond the interpreter, its packages and the system's libraries.
        writable: Folders in which the job may also write, such as that of its checkpoints.
    """

    deadline_s: float = 300.0
    cpu_s: float = 0.0
    memory_mb: int = 4096
    n_processes: int = 64
    n_open_files: int = 256
    file_mb: int = 1024
    scratch_mb: int = 256
    n_scratch_files: int = 1000
    gpu: bool = False
    loopback: bool = False
    readable: tuple[str, ...] = ()
    writable: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def has_gpu() -> bool:
    """Whether jobs may use a card: one that Ray or the user gave this process, or, if nothing was said, any there is."""
    given = os.environ.get("CUDA_VISIBLE_DEVICES")
    return any(Path("/dev").glob("nvidia[0-9]*")) if given is None else given not in ("", "-1")
