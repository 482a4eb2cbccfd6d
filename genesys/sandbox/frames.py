"""The answer of a job, read by the side that trusts nothing of it: bytes in, a JSON object or a typed failure out."""

from __future__ import annotations

import json
import math
from typing import Any, NoReturn

from genesys.errors import CAUSES, JobFailed

MAX_ANSWER_BYTES = 16 << 20


def parse_answer(data: bytes, entry: str) -> dict[str, Any]:
    """Give the answer of an entry.

    Raises:
        JobFailed: The job says that it failed, with the cause that it gives; or the bytes are no single JSON object of
            the right form: too long, too deep, not UTF-8, or with a number that is not finite.
    """
    if len(data) > MAX_ANSWER_BYTES:
        raise JobFailed("over-limit", f"{entry} answered more than {MAX_ANSWER_BYTES >> 20} MiB")
    try:
        frame = json.loads(data.decode(), parse_constant=_refuse, parse_float=_finite)
        json.dumps(frame, ensure_ascii=False).encode()  # a lone surrogate would fail later, in our own journal
    except (ValueError, RecursionError) as error:  # UnicodeError is a ValueError
        raise JobFailed("error", f"{entry} gave no valid answer: {type(error).__name__}: {str(error)[:200]}") from None
    if not isinstance(frame, dict):
        raise JobFailed("error", f"{entry} answered with {type(frame).__name__}; expected a JSON object")
    cause = frame.get("cause")
    if cause is not None:
        raise JobFailed(cause if cause in CAUSES else "error", f"{entry}: {str(frame.get('message'))[:2000]}")
    answer = frame.get("answer")
    if not isinstance(answer, dict):
        raise JobFailed("error", f"{entry} answered {type(answer).__name__}; expected a JSON object")
    return answer


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not a finite number")


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        _refuse(text[:40])
    return value
