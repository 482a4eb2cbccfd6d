"""Result frames are read without trust: whatever the bytes, a JSON object or a typed failure, and soon."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from genesys.errors import CAUSES, JobFailed
from genesys.sandbox.frames import MAX_ANSWER_BYTES, parse_answer

_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=20,
)
_FRAMES = st.dictionaries(st.sampled_from(["answer", "cause", "message", "x"]), _JSON, max_size=4).map(
    lambda frame: json.dumps(frame).encode()
)
_SPOILT = st.tuples(_FRAMES, st.integers(0, 200), st.binary(max_size=6)).map(
    lambda parts: parts[0][: parts[1]] + parts[2] + parts[0][parts[1] + len(parts[2]) :]
)


def read(data: bytes) -> None:
    """Read bytes as a frame, and hold what must be true of the outcome."""
    try:
        answer = parse_answer(data, "module:entry")
    except JobFailed as failure:
        assert failure.cause in CAUSES and len(str(failure)) < 3000
        return
    assert isinstance(answer, dict)
    json.dumps(answer, allow_nan=False, ensure_ascii=False).encode()  # it can be kept as it is


@given(st.binary(max_size=200) | _FRAMES | _SPOILT)
@settings(max_examples=500, deadline=2000)
def test_any_bytes(data: bytes) -> None:
    read(data)


@pytest.mark.slow
@pytest.mark.timeout(900)
@given(st.binary(max_size=400) | _FRAMES | _SPOILT)
@settings(max_examples=20_000, deadline=5000)
def test_any_bytes_20_000_times(data: bytes) -> None:
    read(data)


@given(st.dictionaries(st.text(), st.integers() | st.text(st.characters(exclude_categories=["Cs"])), max_size=5))
def test_what_an_entry_answers_arrives(answer: dict[str, Any]) -> None:
    keys = {key: value for key, value in answer.items() if key.isprintable()}
    assert parse_answer(json.dumps({"answer": keys}).encode(), "module:entry") == keys


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "no valid answer"),
        (b"null", "NoneType; expected a JSON object"),
        (b'{"answer": 3}', "answered int"),
        (b'{"answer": {"x": NaN}}', "NaN is not a finite number"),
        (b'{"answer": {"x": 1e999}}', "1e999 is not a finite number"),
        (b'{"answer": {"x": "\\ud800"}}', "UnicodeEncodeError"),
        (b'{"answer": {}} {"answer": {}}', "Extra data"),
        (b"\x80\x04\x95pickle", "UnicodeDecodeError"),
        (b'{"answer": ' + b"[" * 200_000, "RecursionError"),
        (b'{"answer": {"x": ' + b"9" * 10_000 + b"}}", "ValueError"),
    ],
)
def test_a_malformed_frame_is_the_job_s_fault(data: bytes, words: str) -> None:
    with pytest.raises(JobFailed, match=words) as failure:
        parse_answer(data, "module:entry")
    assert failure.value.cause == "error"


def test_a_frame_that_is_too_long() -> None:
    with pytest.raises(JobFailed, match="more than 16 MiB") as failure:
        parse_answer(b" " * (MAX_ANSWER_BYTES + 1), "module:entry")
    assert failure.value.cause == "over-limit"


def test_a_claimed_cause_that_does_not_exist_is_an_error() -> None:
    with pytest.raises(JobFailed, match="module:entry: x") as failure:
        parse_answer(b'{"cause": ["a list"], "message": "x"}', "module:entry")
    assert failure.value.cause == "error"
