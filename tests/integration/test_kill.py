"""Any actor's process may be killed at any moment: the run goes on, and the books balance.

A real local Ray run of the real pools; the jobs inside are answered by a null cage, so that deaths hit the books.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
import ray

from actors.budget_scheduler import SchedulerSettings
from actors.designer import DesignerActor
from actors.evolution_tree import TreeSettings
from actors.handles import MemberHandle, RayObjects, ServiceHandle, TreeHandle
from actors.messages import Submission
from actors.verifier import Data, VerifierActor, VerifierSettings
from cluster.driver import Driver
from cluster.planning import make_plan
from cluster.spawn import Spawned, spawn_scheduler, spawn_tree
from genesys.config import RunConfig
from genesys.storage import RunStore
from genesys.testing.null_cage import NullCage, NullScorer
from tests.integration.audits import audit, journal_of
from tests.integration.processes import actor_processes

pytestmark = pytest.mark.ray
CONFIG = RunConfig(quotas=(20, 6, 2))
KINDS = ("EvolutionTree", "BudgetScheduler", "Designer", "Verifier")


async def drive(
    folder: Path,
    *,
    resume: bool = False,
    on_snapshot: Callable[[object], None] = lambda _: None,
    lease_ttl_s: float = 60.0,
    seconds: float = 0.25,
) -> None:
    """What `cluster.evolve` does, with null cages whose jobs take some seconds."""
    plan, objects = make_plan(CONFIG, RunStore(folder)), RayObjects()
    tree: TreeHandle = spawn_tree(TreeSettings(run_folder=folder, selection=plan.selection, ahead=6))
    await tree.start(
        plan.started,
        tuple(Submission(events=(e,), program=objects.put(p)) for e, p in zip(plan.seeds, plan.programs, strict=True)),
    )
    scheduler = spawn_scheduler(tree, SchedulerSettings(scales=plan.ladder.scales, promotion=plan.promotion))
    if resume:
        await scheduler.release("", "stopped", "resumed")
    (folder / "cache" / "shards" / "null").mkdir(parents=True, exist_ok=True)
    settings = VerifierSettings(run_folder=folder, cache_folder=folder / "cache", probes=False)

    def designer(name: str) -> Spawned:
        actor = DesignerActor.options(num_cpus=0.1).remote(
            name, tree, plan.ladder.scales, 257, cage=NullCage(seconds=seconds / 2)
        )
        return Spawned(name, actor, MemberHandle(actor))

    def verifier(name: str) -> Spawned:
        actor = VerifierActor.options(num_cpus=0.1, max_concurrency=4).remote(
            name, tree, settings, Data(hash="null", files={}), cage=NullCage(seconds=seconds), scorer=NullScorer()
        )
        return Spawned(name, actor, MemberHandle(actor))

    driver = Driver(
        tree=tree, scheduler=scheduler, spawn_designer=designer, spawn_verifier=verifier,
        designers=("Designer-1",), verifiers=("Verifier-1", "Verifier-2"), on_snapshot=on_snapshot, lease_ttl_s=lease_ttl_s,
    )  # fmt: skip
    try:
        await driver.run()
    finally:
        for service in (tree, scheduler):
            assert isinstance(service, ServiceHandle)
            ray.kill(service.actor)


def test_one_of_each_kind_dies_and_then_the_driver(tmp_path: Path, ray_cluster: None) -> None:
    """A run in which each actor is killed once, the driver after them, and which is then resumed."""
    killed: list[str] = []

    class Killed(Exception):
        pass

    def kill_in_turn(snapshot: object) -> None:
        verified = snapshot.status.scales[0].verified  # type: ignore[attr-defined]
        if len(killed) == len(KINDS) and verified >= 8:
            raise Killed
        if len(killed) < len(KINDS) and verified >= 1 + len(killed):
            for process in actor_processes(KINDS[len(killed)], psutil.Process())[:1]:
                os.kill(process.pid, signal.SIGKILL)
                killed.append(KINDS[len(killed)])

    with pytest.raises(Killed):
        asyncio.run(drive(tmp_path / "run", on_snapshot=kill_in_turn))
    before = journal_of(tmp_path / "run")
    asyncio.run(drive(tmp_path / "run", resume=True))
    after = journal_of(tmp_path / "run")
    assert after[: len(before)] == before, "what stood in the journal changed"
    assert killed == list(KINDS)
    audit(tmp_path / "run", CONFIG.quotas or ())


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_killing_an_actor_loses_nothing(kind: str, tmp_path: Path, ray_cluster: None) -> None:
    kills = []

    def kill_now_and_then(snapshot: object) -> None:
        verified = snapshot.status.scales[0].verified  # type: ignore[attr-defined]
        if verified >= 2 and len(kills) < 2:
            for process in actor_processes(kind, psutil.Process())[:1]:
                os.kill(process.pid, signal.SIGKILL)
                kills.append(process.pid)

    asyncio.run(drive(tmp_path / "run", on_snapshot=kill_now_and_then))
    assert kills, f"no process of {kind} was found to kill"
    audit(tmp_path / "run", CONFIG.quotas or ())


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(6))
def test_random_kills_of_everything(seed: int, tmp_path: Path, ray_cluster: None) -> None:
    rng, kills = random.Random(seed), []

    def kill_something(_: object) -> None:
        victims = actor_processes(rng.choice(KINDS), psutil.Process())
        if victims and len(kills) < 8:
            victim = rng.choice(victims)
            os.kill(victim.pid, signal.SIGKILL)
            kills.append(victim.pid)

    asyncio.run(drive(tmp_path / "run", on_snapshot=kill_something))
    assert kills
    audit(tmp_path / "run", CONFIG.quotas or ())


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["Verifier", "Designer"])
def test_a_stopped_member_is_given_up(kind: str, tmp_path: Path, ray_cluster: None) -> None:
    """SIGSTOP: its process is there and answers nothing. Ray kills it some seconds after it was told to."""
    stopped: list[psutil.Process] = []

    def stop_both(snapshot: object) -> None:
        verified = snapshot.status.scales[0].verified  # type: ignore[attr-defined]
        found = actor_processes(kind, psutil.Process())
        if verified >= 2 + 4 * len(stopped) and len(stopped) < 2 and found:
            os.kill(found[0].pid, signal.SIGSTOP)
            stopped.append(found[0])

    asyncio.run(drive(tmp_path / "run", on_snapshot=stop_both, lease_ttl_s=5.0, seconds=0.5))
    assert len(stopped) == 2
    _, alive = psutil.wait_procs(stopped, timeout=20)
    assert not alive
    run = audit(tmp_path / "run", CONFIG.quotas or ())
    causes = {entry.event.cause for entry in journal_of(run.store.root) if entry.event.kind == "lease_refunded"}
    assert causes == ({"holder-lost"} if kind == "Verifier" else set())
