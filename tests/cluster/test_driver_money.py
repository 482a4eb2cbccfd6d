"""What language models cost, as the driver is told of it and its display shows."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any, cast

from cluster.driver import MONEY_EVERY_S, Driver
from cluster.evolve import _money
from genesys.errors import TransientError
from genesys.evolution.status import CapStatus
from tests.actors.in_process import World, run_world
from tests.actors.scripted_client import ScriptedClient
from tests.actors.test_sessions import config
from tests.actors.virtual_time import VirtualTimeLoop


def test_it_is_what_the_books_say(tmp_path: Path) -> None:
    world = World(tmp_path / "run", config({"llm": 1}, quotas=(2, 1, 1)), client=ScriptedClient())
    run_world(world)
    treasurer: Any = world.tools and world.tools.treasury
    money = asyncio.run(_money(treasurer, world.config))
    assert money.spent == asyncio.run(treasurer.totals()).run.usd > 0
    assert (money.reserved, money.cap) == (0.0, 50.0)


def test_the_treasurer_is_asked_now_and_then_and_what_it_said_last_is_shown() -> None:
    answers: list[CapStatus | None] = [CapStatus(what="USD", spent=spent, reserved=0, cap=9) for spent in (1.0, 2.0)]
    answers.insert(1, None)

    async def ask() -> CapStatus:
        answer = answers.pop(0)
        if answer is None:
            raise TransientError("the treasurer is away")
        return answer

    nobody = cast(Any, None)
    driver = Driver(
        tree=nobody, scheduler=nobody, spawn_designer=nobody, spawn_verifier=nobody, designers=(), verifiers=(), money=ask
    )  # fmt: skip

    async def spent() -> float:
        money = await driver._money()
        assert money is not None
        return money.spent

    async def work() -> list[float]:
        seen = [await spent(), await spent()]
        await asyncio.sleep(MONEY_EVERY_S)
        return [*seen, await spent(), await spent()]

    loop = VirtualTimeLoop()
    try:
        assert loop.run_until_complete(work()) == [1.0, 1.0, 1.0, 2.0]
    finally:
        loop.close()
