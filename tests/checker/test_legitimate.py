"""Nothing sane is rejected: unusual designs, the seeds, and every unit of the library in its place (laws 12 and 13)."""

from __future__ import annotations

import pytest
import torch

from tests.checker.legitimate import library_designs
from tests.checker.legitimate.designs import LEGITIMATE
from tests.checker.stages import first_findings

LIBRARY = dict(library_designs())


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.mark.parametrize("name", LEGITIMATE)
def test_the_unusual_is_sane(name: str) -> None:
    assert list(map(str, first_findings(LEGITIMATE[name].design()))) == []


@pytest.mark.slow
@pytest.mark.parametrize("name", LIBRARY)
def test_the_library_is_sane(name: str) -> None:
    assert list(map(str, first_findings(LIBRARY[name]))) == []


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in LIBRARY if name.startswith("seed-")])
def test_seeds_are_sane_at_an_odd_width(name: str) -> None:
    assert list(map(str, first_findings(LIBRARY[name], d_model=40))) == []


def test_there_are_enough() -> None:
    assert len(LEGITIMATE) >= 40 and len(LIBRARY) >= 60
