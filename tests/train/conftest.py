"""One warm process in which a module's trainings are forked."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.train.warm import Trainings


@pytest.fixture(scope="module")
def trainings() -> Iterator[Trainings]:
    server = Trainings()
    yield server
    server.close()
