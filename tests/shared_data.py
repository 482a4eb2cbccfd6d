"""Where the real corpora and evaluation sets are, on machines that have them."""

from __future__ import annotations

from pathlib import Path

import pytest

_ROOT = Path(__file__).parents[2] / "shared" / "data"


def shared_data(name: str) -> Path:
    """A file or folder of the shared data; skips the test where there is none."""
    path = _ROOT / name
    if not path.exists():
        pytest.skip(f"the shared data set {name!r} is not on this machine")
    return path
