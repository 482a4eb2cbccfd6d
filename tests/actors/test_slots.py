"""Slots: one designer with many designs in the making, each slot a designer of its own to the tree."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from actors.messages import Done, Wait
from cluster.driver import Driver
from cluster.spawn import Spawned
from genesys.errors import TransientError


class Tree:
    """Hands out numbered tasks, and notes who asked and who was released."""

    def __init__(self, n_tasks: int) -> None:
        self.left, self.asked, self.released = n_tasks, set[str](), list[str]()

    async def next_task(self, designer: str) -> Any:
        self.asked.add(designer)
        if not self.left:
            return Done(reason="no more")
        self.left -= 1
        return designer

    async def release(self, designer: str) -> None:
        self.released.append(designer)

    async def status(self) -> Any:
        return type("Status", (), {"ended": ""})


class Scheduler:
    async def lease(self, holder: str, proposals_open: bool) -> Any:
        return Wait(reason="", seconds=0.01) if proposals_open else Done(reason="no more")

    async def release(self, holder: str, cause: str, reason: str) -> int:
        return 0


class Designer:
    """Works on as many tasks at once as it is given; dies once, in the midst of them, if asked to."""

    def __init__(self, dies: bool) -> None:
        self.at_once, self.most, self.done, self.dies = 0, 0, 0, dies

    async def ready(self) -> str:
        return ""

    async def ping(self) -> None: ...

    async def design(self, task: str) -> None:
        self.at_once += 1
        self.most = max(self.most, self.at_once)
        try:
            await asyncio.sleep(0.01)
            if self.dies and self.done == 3:
                raise TransientError("the host is gone")
            self.done += 1
        finally:
            self.at_once -= 1


@pytest.mark.parametrize("dies", [False, True])
def test_a_member_works_in_all_its_slots_and_dies_as_one(dies: bool) -> None:
    tree, members = Tree(24), list[Designer]()

    def spawn(name: str) -> Spawned:
        members.append(Designer(dies and not members))
        return Spawned(name, None, members[-1])

    driver = Driver(
        tree=tree, scheduler=Scheduler(), spawn_designer=spawn, spawn_verifier=lambda name: spawn(name),  # type: ignore[arg-type]
        designers=["Designer-1"], verifiers=[], slots=4,
    )  # fmt: skip

    async def work() -> None:
        async with asyncio.TaskGroup() as group:
            await driver._design(group)

    asyncio.run(asyncio.wait_for(work(), 20))
    assert tree.asked == {f"Designer-1.{k}" for k in (1, 2, 3, 4)}
    assert [member.most for member in members] == [4] * (1 + dies)
    assert tree.released == ["Designer-1"] * dies
    assert not any(member.at_once for member in members)
    assert sum(member.done for member in members) == 24 if not dies else members[1].done > 0
    assert not driver.proposals_open
