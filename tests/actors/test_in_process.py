"""A whole evolution through the actors' classes, without Ray and without training."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from actors.messages import VerifyTask, Wait
from genesys.api import Run
from genesys.config import RunConfig
from genesys.errors import FencedError
from genesys.evolution.events import LeaseRefunded, VerificationRecorded
from tests.actors.in_process import World, run_world

CONFIG = RunConfig(quotas=(24, 6, 2))


def test_the_ladder_climbs_to_its_top_and_the_books_balance(tmp_path: Path) -> None:
    run_world(World(tmp_path / "run", CONFIG))
    run = Run(tmp_path / "run")
    accounts = {scale: run.tree.ledger.account(scale) for scale in run.tree.scales}
    assert {scale: a.committed for scale, a in accounts.items()} == {"cpu-1": 24, "cpu-2": 6, "cpu-3": 2}
    assert run.tree.finished == "every quota is spent"
    assert {record.operator for record in run.tree} >= {"seed", "mutation"}
    assert run.leaderboard()[0]["scale"] == "cpu-3"


def test_nothing_large_travels_by_value(tmp_path: Path) -> None:
    """No design, shard or checkpoint over 100 kB passes through an actor call."""
    world = World(tmp_path / "run", RunConfig(quotas=(40, 6, 2)), shards={"train.bin": bytes(3_000_000)})
    run_world(world)
    assert max(len(value) for value in world.objects.values) >= 3_000_000
    assert max(world.sizes.values()) < 100_000, world.sizes
    assert set(world.sizes) >= {
        "EvolutionTree.submit",
        "EvolutionTree.append",
        "BudgetScheduler.lease",
        "Verifier.verify",
    }


def test_a_restarted_tree_replays_and_fences_its_former_self(tmp_path: Path) -> None:
    async def work() -> None:
        first = World(tmp_path / "run", CONFIG)
        await first.start()
        task = await first.tree.next_task("Designer-1")
        await first.designer.design(task)
        second = World(tmp_path / "run", CONFIG)
        assert (await second.tree.status()) == (await first.tree.status())
        again = await second.tree.next_task("Designer-1")
        await second.designer.design(again)
        late = await first.tree.next_task("Designer-2")
        with pytest.raises(FencedError, match="writer 2 took over from writer 1"):
            await first.designer.design(late)

    asyncio.run(work())


def test_a_dead_holders_lease_comes_back_and_its_late_result_is_refused(tmp_path: Path) -> None:
    async def work() -> None:
        world = World(tmp_path / "run", CONFIG)
        await world.start()
        await world.designer.design(await world.tree.next_task("Designer-1"))
        lease = await world.scheduler.lease("Verifier-1", True)
        assert isinstance(lease, VerifyTask)
        assert await world.scheduler.release("Verifier-1", "holder-died", "killed") == 1
        await world.verifier.verify(lease)  # the dead holder wakes up
        status = await world.tree.status()
        assert status.scales[0].verified == 0
        again = await world.scheduler.lease("Verifier-2", True)
        assert isinstance(again, VerifyTask) and (again.design, again.lease) == (lease.design, lease.lease + 1)

    asyncio.run(work())


def test_an_outcome_that_comes_twice_counts_once(tmp_path: Path) -> None:
    async def work() -> None:
        world = World(tmp_path / "run", CONFIG)
        await world.start()
        await world.designer.design(await world.tree.next_task("Designer-1"))
        lease = await world.scheduler.lease("Verifier-1", True)
        await world.verifier.verify(lease)
        events = await world.tree.news(0)
        recorded = next(event for event in events if isinstance(event, VerificationRecorded))
        assert (await world.tree.append(recorded)).accepted
        refund = LeaseRefunded(lease=recorded.lease, cause="holder-died")
        assert not (await world.tree.append(refund)).accepted
        assert (await world.tree.status()).scales[0].verified == 1

    asyncio.run(work())


def test_designers_pause_while_enough_designs_wait(tmp_path: Path) -> None:
    async def work() -> None:
        world = World(tmp_path / "run", RunConfig(quotas=(24, 6, 2), seeds=("gpt",)))
        await world.start()
        for _ in range(10):
            task = await world.tree.next_task("Designer-1")
            if isinstance(task, Wait):
                break
            await world.designer.design(task)
        assert isinstance(task, Wait) and "wait for a verifier" in task.reason

    asyncio.run(work())
