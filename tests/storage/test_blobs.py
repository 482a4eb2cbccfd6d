"""Blobs: content addresses, damage, writers side by side."""

from __future__ import annotations

import hashlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from genesys.storage import BlobError, BlobStore, content_hash


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.binary(max_size=2000))
def test_gets_what_was_put_under_its_sha256(tmp_path: Path, data: bytes) -> None:
    store = BlobStore(tmp_path / "blobs")
    name = store.put(data)
    assert name == content_hash(data) == hashlib.sha256(data).hexdigest()
    assert store.put(data) == name and store.get(name) == data and name in store


def test_damage_is_noticed(tmp_path: Path) -> None:
    store = BlobStore(tmp_path)
    name = store.put(b"program")
    (tmp_path / name[:2] / name).write_bytes(b"progrem")
    with pytest.raises(BlobError, match="no longer match its name"):
        store.get(name)


def test_unknown_and_malformed_names_are_refused(tmp_path: Path) -> None:
    store = BlobStore(tmp_path)
    with pytest.raises(BlobError, match="has none"):
        store.get("0" * 64)
    with pytest.raises(BlobError, match="expected 64 hexadecimal digits"):
        store.get("../../etc/passwd")


def test_many_may_put_at_once_and_no_temporary_file_stays(tmp_path: Path) -> None:
    blobs = [bytes([i % 7]) * 5000 for i in range(60)]
    with ThreadPoolExecutor(8) as pool:
        names = list(pool.map(BlobStore(tmp_path).put, blobs))
    assert [BlobStore(tmp_path).get(name) for name in names] == blobs
    assert len([f for f in tmp_path.rglob("*") if f.is_file()]) == 7
