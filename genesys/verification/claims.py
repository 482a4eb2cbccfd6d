"""Files that a caged job left, read by the trusted side.

The folder of such a file was writable to generated code, so the file may be a link to a secret, a pipe that blocks, or
a terabyte of holes. Nothing here follows a link, waits for a writer, maps a file or reads beyond a bound; the processes
that could change the file are dead by then (the cage ends a job's whole process tree before it answers).

Does not cover links in the folders on the way: pass folders that the trusted side has made itself.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from genesys.errors import JobFailed

_MAX_HEADER_BYTES = 16 * 2**20
_BLOCK_BYTES = 2**20
_DTYPE_BYTES = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2, "I64": 8, "I32": 4, "I16": 2, "I8": 1, "U8": 1, "BOOL": 1}


@dataclass(frozen=True, slots=True, kw_only=True)
class WeightsFile:
    """A safetensors file as found: what was hashed, and the numbers in all its tensors, buffers included."""

    sha256: str
    n_numbers: int


@contextlib.contextmanager
def open_claim(path: Path) -> Iterator[tuple[BufferedReader, int]]:
    """Open a regular file that is no link; gives it with its size in bytes.

    Raises:
        JobFailed: Cause "integrity": there is none such.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise _refuse(path, error.strerror or str(error)) from None
    found = os.fstat(descriptor)
    if not stat.S_ISREG(found.st_mode):
        os.close(descriptor)
        raise _refuse(path, "it is no regular file")
    with open(descriptor, "rb") as file:
        yield file, found.st_size


def tail_of(path: Path, n_bytes: int) -> bytes:
    """The last bytes of a file; empty if there is no such regular file."""
    try:
        with open_claim(path) as (file, size):
            file.seek(max(0, size - n_bytes))
            return file.read(n_bytes)
    except (JobFailed, OSError):
        return b""


def weights_file(path: Path, *, max_bytes: int) -> WeightsFile:
    """Hash a safetensors file and check its layout, without loading it.

    Raises:
        JobFailed: Cause "integrity": no regular file, larger than `max_bytes`, or a header that does not describe
            exactly the bytes that follow it.
    """
    with open_claim(path) as (file, size):
        if not 8 <= size <= max_bytes:
            raise _refuse(path, f"it has {size:,} bytes; expected 8 to {max_bytes:,}")
        length = file.read(8)
        n_header = int.from_bytes(length, "little")
        if n_header > min(_MAX_HEADER_BYTES, size - 8):
            raise _refuse(path, f"its header claims {n_header:,} bytes")
        header = file.read(n_header)
        n_numbers = _numbers(path, header, size - 8 - n_header)
        digest = hashlib.sha256(length + header)
        while block := file.read(_BLOCK_BYTES):
            digest.update(block)
    return WeightsFile(sha256=digest.hexdigest(), n_numbers=n_numbers)


def read_numbers(path: Path, n: int, dtype: str) -> NDArray[Any]:
    """A file of exactly `n` numbers.

    Raises:
        JobFailed: Cause "integrity": it is missing or of another size.
    """
    with open_claim(path) as (file, size):
        n_bytes = n * np.dtype(dtype).itemsize
        data = file.read(n_bytes) if size == n_bytes else b""
    if len(data) != n_bytes:
        raise _refuse(path, f"it has {size:,} bytes; expected {n_bytes:,}")
    return np.frombuffer(data, dtype=dtype)


def tensor(path: Path, name: str, shape: tuple[int, ...]) -> NDArray[np.float32]:
    """One float32 tensor of a safetensors file that `weights_file` has found in order.

    Raises:
        JobFailed: Cause "integrity": the file holds no such tensor of that shape.
    """
    with open_claim(path) as (file, size):
        n_header = int.from_bytes(file.read(8), "little")
        try:
            entry = json.loads(file.read(min(n_header, _MAX_HEADER_BYTES)))[name]
            (begin, until), found = entry["data_offsets"], (entry["dtype"], tuple(entry["shape"]))
            if found != ("F32", shape) or until - begin != 4 * math.prod(shape) or 8 + n_header + until > size:
                raise ValueError(f"it is {found[0]} {found[1]}, not F32 {shape}")
            file.seek(8 + n_header + begin)
            return np.frombuffer(file.read(until - begin), dtype="<f4").reshape(shape)
        except (ValueError, KeyError, TypeError) as error:
            raise _refuse(path, f"its tensor {name!r} cannot be read ({error})") from None


def _numbers(path: Path, header: bytes, n_data_bytes: int) -> int:
    """Count the numbers that a header describes; its tensors must fill the data without gap or overlap."""
    try:
        entries = json.loads(header)
        tensors = [entry for name, entry in entries.items() if name != "__metadata__"]
        counts = [_count(entry) for entry in tensors]
        end = 0
        for begin, until in sorted(entry["data_offsets"] for entry in tensors):
            if begin != end:
                raise ValueError(f"a tensor begins at byte {begin}, not at {end}")
            end = until
        if end != n_data_bytes:
            raise ValueError(f"its tensors take {end:,} bytes of {n_data_bytes:,}")
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise _refuse(path, f"its header is malformed ({error})") from None
    return sum(counts)


def _count(entry: dict[str, Any]) -> int:
    shape, (begin, until) = entry["shape"], entry["data_offsets"]
    if not all(type(n) is int and n >= 0 for n in (*shape, begin, until)):
        raise ValueError("a size is no whole number from 0")
    n: int = math.prod(shape)
    if until - begin != n * _DTYPE_BYTES[entry["dtype"]]:
        raise ValueError(f"a tensor of {n:,} numbers takes {until - begin:,} bytes")
    return n


def _refuse(path: Path, what: str) -> JobFailed:
    return JobFailed("integrity", f"Cannot accept {path.name!r} from a job: {what}; expected the file it was to write.")
