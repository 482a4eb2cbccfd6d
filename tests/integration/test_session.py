"""A session that cannot be had, or only at the second try."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import ray

from cluster import session
from cluster.session import Session, ray_session
from genesys.errors import TransientError


def describe(*, is_local: bool) -> Session:
    return Session(is_local=is_local, dashboard_url="", token_file="", n_hosts=1)


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What was asked of Ray, which does nothing."""
    found: list[str] = []
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "init", failing(99, found))
    monkeypatch.setattr(ray, "shutdown", lambda: found.append("shutdown"))
    monkeypatch.setattr(session, "_describe", describe)
    monkeypatch.setattr(session, "is_job", lambda: False)
    return found


def failing(n: int, calls: list[str]) -> Callable[..., None]:
    """A Ray that comes up after `n` tries."""

    def init(**_: Any) -> None:
        calls.append("init")
        if calls.count("init") <= n:
            raise Exception("The current node timed out during startup. It happens because of load.\nMore lines.")

    return init


def test_a_cluster_that_does_not_come_up_is_said_in_one_sentence(calls: list[str]) -> None:
    with (
        pytest.raises(
            TransientError, match=r"Cannot start Ray here: The current node timed out.*then run again"
        ) as found,
        ray_session(namespace="none", n_cpus=1),
    ):
        pytest.fail("there is no session")
    assert "More lines" not in str(found.value)
    assert calls == ["init", "shutdown", "init", "shutdown", "shutdown"], "two tries, and nothing left behind"


def test_a_second_try_gives_a_session(calls: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray, "init", failing(1, calls))
    with ray_session(namespace="none", n_cpus=1) as found:
        assert found.is_local and calls == ["init", "shutdown", "init"]
    assert calls[-1] == "shutdown"
