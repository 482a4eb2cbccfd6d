"""A driver whose books another one has taken over ends, even when it only waits."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any, cast

import pytest

from actors.messages import Wait
from cluster.driver import Driver
from cluster.spawn import Spawned
from genesys.errors import FencedError


async def wait(*_: object) -> Wait:
    return Wait(reason="nothing to do", seconds=0.05)


async def fenced(*_: object) -> None:
    raise FencedError("writer 2 took over from writer 1")


async def answer(*_: object) -> str:
    return "here"


async def test_a_driver_that_only_waits_ends_when_it_is_taken_over() -> None:
    member = SimpleNamespace(ready=answer, ping=answer, progress=answer)
    driver = Driver(
        tree=cast(Any, SimpleNamespace(next_task=wait, append=fenced)),
        scheduler=cast(Any, SimpleNamespace(lease=wait)),
        spawn_designer=lambda name: Spawned(name, None, member),
        spawn_verifier=lambda name: Spawned(name, None, member),
        designers=("Designer-1",), verifiers=("Verifier-1",), should_stop=lambda: "asked to stop",
    )  # fmt: skip
    with pytest.raises(FencedError, match="took over"):
        await asyncio.wait_for(driver.run(), 30)
