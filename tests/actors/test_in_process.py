"""A whole evolution through the actors' classes, without Ray and without training."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from actors.messages import Done, ProposeTask, VerifyTask, Wait
from genesys.api import Run
from genesys.config import RunConfig
from genesys.errors import FencedError, JobFailed
from genesys.evolution.events import LeaseRefunded, VerificationRecorded
from genesys.gau.library import seed_design
from genesys.testing.null_cage import NullCage
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


def test_a_lost_answer_to_a_lease_is_given_again(tmp_path: Path) -> None:
    async def work() -> None:
        world = World(tmp_path / "run", CONFIG)
        await world.start()
        for _ in range(3):
            await world.designer.design(await world.tree.next_task("Designer-1"))
        first = await world.scheduler.lease("Verifier-1", True)
        assert await world.scheduler.lease("Verifier-1", True) == first, "its holder asked again: the answer was lost"
        other = await world.scheduler.lease("Verifier-2", True)
        assert isinstance(other, VerifyTask) and other.lease != first.lease and other.design != first.design

    asyncio.run(work())


def test_figures_that_the_books_refuse_end_the_lease_as_a_failure(tmp_path: Path) -> None:
    class Forger(NullCage):
        async def run(self, entry, request, policy):  # type: ignore[no-untyped-def]
            return await super().run(entry, request, policy) | {"test_bpb": -1.0}

    async def work() -> None:
        world = World(tmp_path / "run", CONFIG, cage=Forger())
        await world.start()
        await world.designer.design(await world.tree.next_task("Designer-1"))
        await world.verifier.verify(await world.scheduler.lease("Verifier-1", True))
        status = await world.tree.status()
        assert (status.scales[0].running, status.scales[0].verified, status.scales[0].failed) == (0, 0, 1)

    asyncio.run(work())


@pytest.mark.parametrize("answer", [{}, {"design_id": 3}, {"weights": None}])
def test_a_malformed_answer_is_the_designs_failure(tmp_path: Path, answer: dict[str, object]) -> None:
    class Mumbler(NullCage):
        async def run(self, entry, request, policy):  # type: ignore[no-untyped-def]
            whole = await super().run(entry, request, policy)
            return whole if entry.endswith("check") else answer

    async def work() -> None:
        world = World(tmp_path / "run", CONFIG, cage=Mumbler())
        await world.start()
        await world.designer.design(await world.tree.next_task("Designer-1"))
        await world.verifier.verify(await world.scheduler.lease("Verifier-1", True))
        assert (await world.tree.status()).scales[0].failed == 1

    asyncio.run(work())


def test_a_check_that_is_killed_twice_rejects_the_design(tmp_path: Path) -> None:
    class Killer(NullCage):
        async def run(self, entry, request, policy):  # type: ignore[no-untyped-def]
            raise JobFailed("killed", "ended with code -9")

    async def work() -> None:
        world = World(tmp_path / "run", CONFIG, cage=Killer())
        await world.start()
        await world.designer.design(await world.tree.next_task("Designer-1"))
        assert (await world.tree.status()).states["rejected"] == 1

    asyncio.run(work())


def test_proposing_ends_when_nothing_sane_comes_of_it(tmp_path: Path) -> None:
    class Rejecter(NullCage):
        async def run(self, entry, request, policy):  # type: ignore[no-untyped-def]
            finding = {"rule": "size-coarse", "severity": "error", "measured": "", "required": "", "hint": ""}
            return await super().run(entry, request, policy) | {"findings": [finding]}

    async def work() -> None:
        world = World(tmp_path / "run", CONFIG, cage=Rejecter(), max_failed=8)
        await world.start()
        for _ in range(60):
            task = await world.tree.next_task("Designer-1")
            if isinstance(task, Done):
                break
            await world.designer.design(task)
        assert isinstance(task, Done) and "in a row" in task.reason
        end = await world.scheduler.lease("Verifier-1", False)
        assert isinstance(end, Done) and "no design is left" in end.reason

    asyncio.run(work())


def test_the_results_of_another_design_are_refused(tmp_path: Path) -> None:
    """Law 2: the id in the report is the id of the code that was trained."""

    class Mixer(NullCage):
        async def run(self, entry, request, policy):  # type: ignore[no-untyped-def]
            other = entry.endswith("check") or {"tree": seed_design("retnet").to_json()}
            return await super().run(entry, request if other is True else request | other, policy)

    async def work() -> None:
        world = World(tmp_path / "run", CONFIG, cage=Mixer())
        await world.start()
        await world.designer.design(await world.tree.next_task("Designer-1"))
        await world.verifier.verify(await world.scheduler.lease("Verifier-1", True))
        (failed,) = [event for event in await world.tree.news(0) if event.kind == "verification_failed"]
        assert failed.cause == "integrity" and "asked for" in failed.reason

    asyncio.run(work())


def test_parents_measured_results_reach_their_designer(tmp_path: Path) -> None:
    """Law 22."""

    async def work() -> None:
        world = World(tmp_path / "run", RunConfig(quotas=(24, 6, 2), seeds=("gpt",)))
        await world.start()
        await world.designer.design(await world.tree.next_task("Designer-1"))
        await world.verifier.verify(await world.scheduler.lease("Verifier-1", True))
        task = await world.tree.next_task("Designer-1")
        assert isinstance(task, ProposeTask)
        (parent,) = task.parents
        assert parent.fitness == {"cpu-1": 0.0} and parent.metrics["cpu-1"]["test_bpb"] < 4.0

    asyncio.run(work())
