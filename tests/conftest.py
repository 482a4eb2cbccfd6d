"""One Ray cluster for the session, however many workers run its tests."""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
from collections.abc import Iterator

import pytest

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.pop("COLUMNS", None)  # pytest's workers have one, and what is printed would be folded there
signal.signal(signal.SIGINT, signal.default_int_handler)  # what a shell's background job starts would ignore Ctrl-C

COSTLY = ("ray_cluster", "postgres_server", "honest")
"""Fixtures of the session: the tests that use one share a worker, and with it the fixture."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Groups for `pytest -n 2 --dist loadgroup`: a costly fixture's tests, and those of a file."""
    for item in items:
        names = getattr(item, "fixturenames", ())
        item.add_marker(pytest.mark.xdist_group(next((n for n in COSTLY if n in names), str(item.path))))


@pytest.fixture(scope="session")
def ray_cluster() -> Iterator[None]:
    """A local cluster of this test session's own; ended with it, by `ray.shutdown`, which touches no other."""
    import ray

    folder = tempfile.mkdtemp(prefix="gt-", dir="/tmp")
    ray.init(
        address="local",
        num_cpus=8,
        object_store_memory=200_000_000,
        include_dashboard=False,
        log_to_driver=False,
        _temp_dir=folder,
        logging_level="ERROR",
    )
    yield
    ray.shutdown()
    shutil.rmtree(folder, ignore_errors=True)
