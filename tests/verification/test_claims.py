"""Files from a folder that generated code could write: links, pipes, holes and nonsense."""

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import save

from genesys.errors import JobFailed
from genesys.verification import VerificationProgress, read_progress
from genesys.verification.claims import open_claim, tail_of, weights_file
from genesys.verification.progress import write_stage

MAX = 1 << 20


def tensors(header: dict[str, Any] | bytes, data: bytes = b"") -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + data


def entry(shape: list[Any], begin: int, end: int, dtype: str = "F32") -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


def test_a_real_file_is_counted_and_hashed(tmp_path: Path) -> None:
    path = tmp_path / "w"
    path.write_bytes(save({"a": np.zeros((3, 4), np.float32), "b": np.ones(5, np.float16)}, {"design_id": "d"}))
    found = weights_file(path, max_bytes=MAX)
    assert found.n_numbers == 17 and len(found.sha256) == 64


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "has 0 bytes; expected 8 to"),
        (bytes(MAX + 1), "expected 8 to 1,048,576"),
        ((1 << 60).to_bytes(8, "little") + b"{}", "header claims 1,152,921,504,606,846,976 bytes"),
        (tensors(b"[]"), "malformed"),
        (tensors(b"{"), "malformed"),
        (tensors(b"[" * 100_000), "malformed"),
        (tensors(b"\xff\xfe"), "malformed"),
        (tensors({"a": entry([2], 0, 8)}, bytes(9)), "take 8 bytes of 9"),
        (tensors({"a": entry([2], 0, 8)}, bytes(7)), "take 8 bytes of 7"),
        (tensors({"a": entry([2], 0, 4)}, bytes(4)), "2 numbers takes 4 bytes"),
        (tensors({"a": entry([-1, -2], 0, 8)}, bytes(8)), "no whole number"),
        (tensors({"a": entry([2.0], 0, 8)}, bytes(8)), "no whole number"),
        (tensors({"a": entry([1], 0, 4), "b": entry([1], 0, 4)}, bytes(4)), "begins at byte 0, not at 4"),
        (tensors({"a": entry([1], 4, 8)}, bytes(8)), "begins at byte 4, not at 0"),
        (tensors({"a": entry([1], 0, 4, "OBJECT")}, bytes(4)), "OBJECT"),
        (tensors({"a": 3}), "malformed"),
        (tensors({"a": {"dtype": "F32"}}), "malformed"),
    ],
)
def test_a_malformed_weights_file_is_refused(data: bytes, message: str, tmp_path: Path) -> None:
    (tmp_path / "w").write_bytes(data)
    with pytest.raises(JobFailed, match=message) as caught:
        weights_file(tmp_path / "w", max_bytes=MAX)
    assert caught.value.cause == "integrity"


@given(
    header=st.recursive(st.none() | st.integers() | st.text(), lambda x: st.lists(x) | st.dictionaries(st.text(), x))
)
def test_no_header_does_more_than_fail(header: Any, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("claims") / "w"
    path.write_bytes(tensors(json.dumps({"a": header}).encode(), bytes(16)))
    with pytest.raises(JobFailed, match=r"its header is malformed|tensors take"):
        weights_file(path, max_bytes=MAX)


@pytest.mark.parametrize("kind", ["missing", "link", "pipe", "folder", "device"])
def test_only_regular_files_are_opened(kind: str, tmp_path: Path) -> None:
    """A pipe without a writer must not block, a link must not be followed."""
    path = tmp_path / "claim"
    (tmp_path / "secret").write_bytes(b"the host's secret")
    match kind:
        case "link":
            path.symlink_to(tmp_path / "secret")
        case "pipe":
            os.mkfifo(path)
        case "folder":
            path.mkdir()
        case "device":
            path = Path("/dev/zero")
    with pytest.raises(JobFailed, match="Cannot accept") as caught, open_claim(path):
        pass
    assert caught.value.cause == "integrity"
    assert tail_of(path, 100) == b""


def progress(folder: Path, data: bytes) -> VerificationProgress:
    (folder / "training").mkdir(exist_ok=True)
    (folder / "training" / "progress.jsonl").write_bytes(data)
    return read_progress(folder)


def test_progress_of_a_cut_line_is_the_last_whole_one(tmp_path: Path) -> None:
    assert read_progress(tmp_path) == VerificationProgress()
    seen = progress(tmp_path, b'{"n_tokens": 5, "loss": 1.5, "tokens_per_s": 9}\n{"n_tok')
    assert (seen.n_tokens, seen.loss_nats, seen.tokens_per_s) == (5, 1.5, 9.0)


@pytest.mark.parametrize(
    "line",
    [
        b"\xff\xfe\x00",
        b"[" * 4000,
        b'{"n_tokens": 1e999, "loss": 1, "tokens_per_s": 1}',
        b'{"n_tokens": 1, "loss": NaN, "tokens_per_s": 1}',
        b'{"n_tokens": 1, "loss": 1, "tokens_per_s": Infinity}',
        b'{"n_tokens": [], "loss": 1, "tokens_per_s": 1}',
        b'{"n_tokens": ' + b"9" * 5000 + b', "loss": 1, "tokens_per_s": 1}',
        b"7",
    ],
)
def test_nonsense_reads_as_not_begun(line: bytes, tmp_path: Path) -> None:
    assert progress(tmp_path, line) == VerificationProgress()
    assert progress(tmp_path, b'{"n_tokens": 5, "loss": 1.5, "tokens_per_s": 9}\n' + line[:50]).n_tokens == 5


@given(data=st.binary(max_size=200))
def test_no_progress_file_breaks_its_reader(data: bytes, tmp_path_factory: pytest.TempPathFactory) -> None:
    assert progress(tmp_path_factory.mktemp("claims"), data).n_tokens == 0


def test_a_huge_progress_file_is_read_at_its_end_alone(tmp_path: Path) -> None:
    progress(tmp_path, b"")
    with (tmp_path / "training" / "progress.jsonl").open("wb") as file:
        file.truncate(1 << 40)  # holes: they take no space
        file.seek(0, os.SEEK_END)
        file.write(b'\n{"n_tokens": 5, "loss": 1.5, "tokens_per_s": 9}\n')
    assert read_progress(tmp_path).n_tokens == 5


def test_writing_the_stage_follows_no_link(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("untouched")
    (tmp_path / "stage").symlink_to(tmp_path / "secret")
    write_stage(tmp_path, "train")
    assert (tmp_path / "secret").read_text() == "untouched" and read_progress(tmp_path).stage == "train"
