"""Whose fault an exception in a training is, as far as that can be told from what was raised.

Generated code raises what it likes: nothing here excuses an error that came out of a unit.
"""

from __future__ import annotations

import errno
import re
import traceback

import torch

from genesys.errors import ConfigError, FailureCause, JobFailed

_SHAPES = re.compile(
    r"shapes? cannot be multiplied|size mismatch|size of tensor|must match|shape '\[|is invalid for input of size|mismatch in|"
    r"[Ss]izes of tensors|Expected size|expected input|dimension out of range|not broadcastable|same number of dimensions|"
    r"doesn't match the broadcast shape|shape mismatch|must have the same|expand\(|not divisible|equal size|"
    r"expects split_sizes|multiply up to the size|einsum\(\)",
)
_MEMORY = re.compile(r"allocate memory|out of memory|CUBLAS_STATUS_ALLOC_FAILED")
_FULL_DISK = re.compile(r"No space left|Disk quota exceeded|PytorchStreamWriter failed|unexpected pos|iostream error")
_LOST_RANK = re.compile(r"gloo|NCCL|Connection (closed|reset)")


def failure_of(error: BaseException) -> JobFailed | None:
    """The failure that an exception stands for; None where its class says all there is to say."""
    if isinstance(error, JobFailed):
        return error
    cause = _cause(error)
    return cause and JobFailed(cause, f"Cannot train on: {type(error).__name__}: {error}."[:2000] + _hint(cause))


def failure_or_error(error: BaseException) -> JobFailed:
    """The failure that an exception stands for, whatever it is."""
    is_hosts = isinstance(error, (OSError, ConfigError)) or _LOST_RANK.search(str(error)) is not None
    cause: FailureCause = "infrastructure" if is_hosts and not raised_in_unit(error) else "error"
    return failure_of(error) or JobFailed(cause, f"{type(error).__name__}: {error}"[:2000])


def raised_in_unit(error: BaseException) -> bool:
    """Whether a unit's code was being run."""
    frames = (frame.f_code.co_filename for frame, _ in traceback.walk_tb(error.__traceback__))
    return any(name.startswith("<unit ") for name in frames)


def _cause(error: BaseException) -> FailureCause | None:
    text, in_unit = str(error), raised_in_unit(error)
    if isinstance(error, (torch.OutOfMemoryError, MemoryError)) or (
        isinstance(error, RuntimeError) and _MEMORY.search(text)
    ):
        return "out-of-memory"
    if isinstance(error, PermissionError) and in_unit:
        return "denied"
    if in_unit:
        return "shape" if isinstance(error, (RuntimeError, ValueError)) and _SHAPES.search(text) else None
    is_full = isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)
    return "infrastructure" if is_full or _FULL_DISK.search(text) else None


def _hint(cause: FailureCause) -> str:
    return {
        "out-of-memory": " Lower the widths inside the units.",
        "shape": " Look at the shapes that the unit's parts give and take.",
        "denied": " A unit computes, and touches nothing else.",
        "infrastructure": " Free space on this host.",
    }.get(cause, "")
