"""A driver whose books another one has taken over ends, even when it only waits."""

from __future__ import annotations

import asyncio
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from actors.messages import Wait
from cluster.driver import Driver
from cluster.spawn import Spawned
from genesys.config import RunConfig
from genesys.errors import FencedError
from genesys.evolution.events import RunDraining
from genesys.storage import RunStore
from tests.actors.in_process import World


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


async def test_a_tree_that_cannot_write_any_more_says_so_to_whoever_asks(tmp_path: Path) -> None:
    world = World(tmp_path / "run", RunConfig(seeds=("gpt",), quotas=(3, 1, 1)))
    await world.tree.start(world.plan.started, ())
    RunStore(tmp_path / "run").journal()  # another writer
    for ask in (lambda: world.tree.append(RunDraining(reason="")), lambda: world.tree.next_task("Designer-1"),
                lambda: world.tree.news(0), world.tree.status):  # fmt: skip
        with pytest.raises(FencedError, match="took over"):
            await ask()
