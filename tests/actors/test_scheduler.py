"""The scheduler beside strategies that fail, readings that fail and results that come in twos."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import pytest

from actors.budget_scheduler import BudgetScheduler, SchedulerSettings
from actors.evolution_tree import EvolutionTree
from actors.messages import Done, Submission, VerifyTask
from genesys.config import RunConfig
from genesys.errors import TransientError
from genesys.evolution.events import (
    DesignImplemented,
    DesignProposed,
    Event,
    LeaseGranted,
    ProposalFailed,
    RunResumed,
    VerificationFailed,
    VerificationRecorded,
)
from genesys.evolution.population import Population
from genesys.evolution.promotion import resolve_promotion
from genesys.testing import metrics_for
from tests.actors.in_process import World


class Failing:
    def promote(self, population: Population, openings: Mapping[str, int], *, rng: Random) -> None:
        raise RuntimeError("boom")


async def started(folder: Path, **config: Any) -> World:
    """Two seeds and a design, all checked."""
    world = World(folder, RunConfig(seeds=("gpt", "retnet"), quotas=(6, 2, 1), **config))
    sizes = {scale.name: {"vocab_size": 257, "d_model": 8, "n_blocks": 1} for scale in world.plan.ladder.scales}
    seeds = zip(world.plan.seeds, world.plan.programs, strict=True)
    await world.tree.start(
        world.plan.started, tuple(Submission(events=(s,), program=world.objects.put(p)) for s, p in seeds)
    )
    proposed = DesignProposed(design="a", name="a", program=world.plan.seeds[0].program, operator="mutation")
    for events in (
        *((DesignImplemented(design=s.design, sizes=sizes),) for s in world.plan.seeds),
        (proposed, DesignImplemented(design="a", sizes=sizes)),
    ):
        await world.tree.submit(Submission(events=events))
    return world


async def test_a_strategy_that_fails_gives_no_lease_to_two(tmp_path: Path) -> None:
    world = await started(tmp_path / "run")
    settings = SchedulerSettings(scales=world.plan.ladder.scales, promotion=Failing())
    scheduler = BudgetScheduler(world.tree, settings)
    first = [await scheduler.lease(f"seed-{i}", True) for i in range(2)]
    rest = await asyncio.gather(*(scheduler.lease(f"V-{i}", True) for i in range(3)))
    designs = [task.design for task in (*first, *rest) if isinstance(task, VerifyTask)]
    assert sorted(designs) == sorted([*(seed.design for seed in world.plan.seeds), "a"])


async def test_who_waited_behind_a_reading_that_failed_reads_anew() -> None:
    class Tree:
        n_asked = 0

        async def news(self, since: int) -> tuple[Event, ...]:
            self.n_asked += 1
            number = self.n_asked
            await asyncio.sleep(0.01)
            if number == 2:
                raise TransientError("away")
            return ()

    tree = Tree()
    scheduler: Any = BudgetScheduler(tree, SchedulerSettings(scales=(), promotion=resolve_promotion()))  # type: ignore[arg-type]
    first = asyncio.create_task(scheduler._catch_up())
    await asyncio.sleep(0.001)
    rest = await asyncio.gather(scheduler._catch_up(), scheduler._catch_up(), return_exceptions=True)
    await first
    assert [type(answer) for answer in rest] == [TransientError, type(None)] and tree.n_asked == 3


async def test_a_reading_under_way_when_asked_is_not_enough() -> None:
    class Tree:
        n_asked = 0

        async def news(self, since: int) -> tuple[Event, ...]:
            self.n_asked += 1
            await asyncio.sleep(0.01)
            return ()

    tree = Tree()
    scheduler: Any = BudgetScheduler(tree, SchedulerSettings(scales=(), promotion=resolve_promotion()))  # type: ignore[arg-type]
    first = asyncio.create_task(scheduler._catch_up())
    await asyncio.sleep(0.001)
    await asyncio.gather(scheduler._catch_up(), scheduler._catch_up())
    await first
    assert tree.n_asked == 2, "one for who asked first, one shared by who asked while it was under way"


async def test_parents_results_outlive_a_replicate_that_failed(tmp_path: Path) -> None:
    world = await started(tmp_path / "run", training_seeds={"cpu-1": 2})
    tree: EvolutionTree = world.tree._target
    scale, key = world.plan.ladder.scales[0].name, {"design": "a"}
    for event in (
        LeaseGranted(lease=1, **key, scale=scale, holder="v"),
        VerificationRecorded(lease=1, **key, scale=scale, metrics=metrics_for(0.5), report="r"),
        LeaseGranted(lease=2, **key, scale=scale, holder="v", seed=1),
        VerificationFailed(lease=2, **key, scale=scale, seed=1, cause="diverged"),
    ):
        assert (await tree.append(event)).accepted
    parent = await tree._parent(tree._tree.population().get("a"))
    assert parent.metrics == {scale: metrics_for(0.5)}


async def test_failed_proposals_in_a_row_are_counted_over_a_restart_until_the_run_is_resumed(tmp_path: Path) -> None:
    world = await started(tmp_path / "run")
    for _ in range(3):
        failed = ProposalFailed(designer="D", operator="mutation", reason="nothing new")
        await world.tree.submit(Submission(events=(failed,)))
    settings = replace(world.tree._target._settings, max_failed_proposals=3)
    again = EvolutionTree(settings, objects=world.objects)  # type: ignore[arg-type]
    assert (await again.next_task("D")) == Done(reason="3 proposals in a row gave nothing new")
    await again.append(RunResumed(reason="resumed"))
    assert not isinstance(await again.next_task("D"), Done)


async def test_a_snapshot_that_cannot_be_kept_ends_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    world = await started(tmp_path / "run")
    tree: EvolutionTree = world.tree._target
    monkeypatch.setattr(tree, "_next_snapshot", 0)

    def refuse(seq: int, state: Mapping[str, Any]) -> None:
        raise ValueError("string or blob too big")

    monkeypatch.setattr(tree._journal, "save_snapshot", refuse)
    for lease, design in enumerate(("a", world.plan.seeds[0].design), start=1):
        granted = LeaseGranted(lease=lease, design=design, scale=tree._tree.scales[0], holder="v")
        assert (await tree.append(granted)).accepted


async def test_a_grant_of_which_nobody_knows_whether_it_stands_is_not_held_on_to(tmp_path: Path) -> None:
    world = await started(tmp_path / "run")

    class Away:
        """The tree, which once does not answer to a grant."""

        n_failed = 0

        def __getattr__(self, name: str) -> Any:
            return getattr(world.tree, name)

        async def append(self, event: Event) -> Any:
            if isinstance(event, LeaseGranted) and not self.n_failed:
                self.n_failed += 1
                raise TransientError("away")
            return await world.tree.append(event)

    settings = SchedulerSettings(scales=world.plan.ladder.scales, promotion=resolve_promotion())
    scheduler = BudgetScheduler(Away(), settings)  # type: ignore[arg-type]
    with pytest.raises(TransientError, match="away"):
        await scheduler.lease("V-1", True)
    task = await scheduler.lease("V-1", True)
    assert isinstance(task, VerifyTask)
    leases = [event for event in await world.tree.news(0) if isinstance(event, LeaseGranted)]
    assert [lease.lease for lease in leases] == [task.lease]
