"""Calls are repeated when their answer is lost: the second answer must be as good as the first."""

from __future__ import annotations

import asyncio
from contextlib import closing
from pathlib import Path

import pytest

from actors.batching import Answer, Call
from actors.handles import ServiceHandle
from actors.messages import CheckTask, ProposeTask, Submission
from genesys.config import RunConfig
from genesys.errors import TransientError
from genesys.evolution.events import DesignImplemented
from tests.actors.in_process import World
from tests.actors.virtual_time import VirtualTimeLoop


async def test_a_task_whose_answer_was_lost_is_given_again(tmp_path: Path) -> None:
    world = World(tmp_path / "run", RunConfig(seeds=("gpt",), quotas=(2, 1, 1)))  # one more than there are seeds
    given = tuple(Submission(events=(seed,), program=b) for seed, b in zip(world.plan.seeds, _refs(world), strict=True))
    await world.tree.start(world.plan.started, given)
    lost = await world.tree.next_task("Designer-1")
    assert isinstance(lost, CheckTask)
    again = [await world.tree.next_task("Designer-1") for _ in range(2)]
    assert [task.design for task in again if isinstance(task, CheckTask)] == [lost.design, lost.design]
    for seed in world.plan.seeds:
        await world.tree.submit(Submission(events=(DesignImplemented(design=seed.design),)))
    for _ in range(2):  # the second time, it is not kept waiting for what itself has in hand
        assert isinstance(await world.tree.next_task("Designer-1"), ProposeTask)


def _refs(world: World) -> list[int]:
    return [world.objects.put(program) for program in world.plan.programs]


async def test_seeds_that_stand_there_are_no_failed_proposals(tmp_path: Path) -> None:
    """A run that is taken up again submits its seeds again; with few failures allowed, it once ended at that."""
    config = RunConfig(seeds=("gpt", "retnet"), quotas=(4, 1, 1))
    for _ in range(2):  # the second one resumes
        world = World(tmp_path / "run", config, max_failed=2)
        await world.start()
        for seed in world.plan.seeds:
            await world.tree.submit(Submission(events=(DesignImplemented(design=seed.design),)))
        assert isinstance(await world.tree.next_task("Designer-1"), ProposeTask)


class Deaf:
    """An actor's `many` whose first answers are lost without a word."""

    def __init__(self, n_lost: int) -> None:
        self.many, self.n_lost = self, n_lost

    def remote(self, calls: tuple[Call, ...]) -> asyncio.Future[list[Answer]]:
        answered: asyncio.Future[list[Answer]] = asyncio.get_running_loop().create_future()
        self.n_lost -= 1
        if self.n_lost < 0:
            answered.set_result([(True, method) for method, _ in calls])
        return answered


def test_an_answer_that_never_comes_is_asked_for_again() -> None:
    with closing(VirtualTimeLoop()) as loop:
        assert loop.run_until_complete(ServiceHandle(Deaf(1)).call("status")) == "status"
        with pytest.raises(TransientError, match="status"):
            loop.run_until_complete(ServiceHandle(Deaf(2)).call("status"))
