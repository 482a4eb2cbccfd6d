"""A session that cannot be had."""

from __future__ import annotations

from typing import Any

import pytest
import ray

from cluster.session import ray_session
from genesys.errors import TransientError


def test_a_cluster_that_does_not_come_up_is_said_in_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    def init(**_: Any) -> None:
        raise Exception("The current node timed out during startup. This could happen because of load.\nMore lines.")

    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "init", init)
    monkeypatch.setattr(ray, "shutdown", lambda: None)
    with (
        pytest.raises(
            TransientError, match=r"Cannot start Ray here: The current node timed out.*then run again"
        ) as found,
        ray_session(namespace="none", n_cpus=1),
    ):
        pytest.fail("there is no session")
    assert "More lines" not in str(found.value)
