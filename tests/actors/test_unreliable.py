"""Whatever dies, stops or is cut off, whatever message is lost: the books balance. The real actors, in virtual time."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from cluster.driver import LEASE_TTL_S
from genesys.config import RunConfig
from genesys.config.run import DesignersConfig, VerifiersConfig
from genesys.evolution import EvolutionTree
from genesys.evolution.fitness import resolve_fitness
from genesys.storage import RunStore
from genesys.verification.attempts import attempt_folder
from tests.actors.unreliable import NO_FAULTS, Faults, World
from tests.actors.virtual_time import VirtualTimeLoop

CONFIG = RunConfig(
    quotas=(6, 2, 1), seeds=("gpt", "retnet"), designers=DesignersConfig(n=2), verifiers=VerifiersConfig(n=3)
)
CLOSED = RunConfig(quotas=(3, 3, 3), seeds=("gpt", "retnet", "ttt"), verifiers=VerifiersConfig(n=2))


def audit(world: World) -> EvolutionTree:
    """The books of a run that has ended, replayed from its journal."""
    store = RunStore(world.folder)
    journal = store.journal(mode="reader")
    entries, tree = list(journal.read()), EvolutionTree(resolve_fitness())
    commits: set[tuple[str, str, int]] = set()
    for entry in entries:
        tree.apply(entry.event)
        if entry.event.kind == "verification_recorded":
            event = entry.event
            key = (event.design, event.scale, event.seed)
            assert key not in commits, f"{key} was committed twice"
            commits.add(key)
            assert journal.blob(event.report)
            root = store.artifacts / event.design[:16] / f"{event.scale}-seed{event.seed}"
            assert (attempt_folder(root, event.lease) / "report.json").is_file(), "its files are gone"
    for prefix in world.prefixes:
        assert entries[: len(prefix)] == prefix, "what stood in the journal changed"
    stand = {repr(entry.event) for entry in entries}
    for event in world.acknowledged:
        assert repr(event) in stand, f"{event} was acknowledged and is not in the journal"
    assert tree.finished == "every quota is spent", (tree.finished, world.blows)
    assert not tree.leases
    for scale, quota in zip(tree.scales, world.config.quotas or (), strict=True):
        assert tree.ledger.account(scale).finished == quota, world.blows
    for record in tree:
        assert journal.blob(record.program)
        assert all(parent in tree.records for parent in record.parents)
    return tree


def results(tree: EvolutionTree) -> dict[tuple[str, str, int], dict[str, float]]:
    return {(r.id, run.scale, run.seed): dict(run.metrics) for r in tree for run in r.runs}


def run(folder: Path, config: RunConfig, seed: int, faults: Faults) -> tuple[World, EvolutionTree]:
    world = World(folder, config, seed, faults)
    world.run()
    return world, audit(world)


@pytest.mark.parametrize("seed", range(50))
def test_the_books_balance(seed: int, tmp_path: Path) -> None:
    """Decisions 21a: what stood in the journal is unchanged, and every audit holds."""
    run(tmp_path / "run", CONFIG, seed, Faults())


@pytest.mark.parametrize("seed", range(5))
def test_a_closed_list_gives_the_same_results(seed: int, tmp_path: Path) -> None:
    """Decisions 21b: with the designs given, the results equal those of a run to which nothing happened."""
    _, calm = run(tmp_path / "calm", CLOSED, 0, NO_FAULTS)
    world, struck = run(tmp_path / "struck", CLOSED, seed, replace(Faults(), may_poison=False, every_s=3.0))
    assert results(struck) == results(calm) and len(results(calm)) == 9
    assert len(world.blows) > 3


def test_a_stopped_verifier_is_given_up_and_refused_when_it_wakes(tmp_path: Path) -> None:
    class Stopping(World):
        async def _strike(self) -> None:
            while "Verifier-0" not in self.members or self.members["Verifier-0"].target._task is None:
                await asyncio.sleep(0.1)
            self.stopped = self.members["Verifier-0"]
            self.lease = self.stopped.target._task.lease
            self.cut_off.add(self.stopped)  # nor can it be killed
            self.stopped.stop(300.0)
            await asyncio.sleep(LEASE_TTL_S - 15)
            assert self.lease in self.services["EvolutionTree"].target._tree.leases, "given up too soon"
            await asyncio.sleep(35)
            assert self.lease not in self.services["EvolutionTree"].target._tree.leases, "it was not given up"

    world = Stopping(tmp_path / "run", CLOSED, 0, NO_FAULTS)
    world.run()
    audit(world)
    events = [entry.event for entry in RunStore(world.folder).journal(mode="reader").read()]
    (refund,) = [event for event in events if event.kind == "lease_refunded"]
    assert (refund.lease, refund.cause) == (world.lease, "holder-lost")
    assert not list((world.folder / "artifacts").glob(f"*/*/lease-{world.lease}")), "what it wrote late is still there"


def test_a_driver_that_was_asleep_gives_nobody_up(tmp_path: Path) -> None:
    class Sleeping(World):
        async def _strike(self) -> None:
            loop = asyncio.get_running_loop()
            assert isinstance(loop, VirtualTimeLoop)
            for _ in range(3):
                await asyncio.sleep(4.0)
                loop.now += 3600.0

    world = Sleeping(tmp_path / "run", CLOSED, 0, NO_FAULTS)
    world.run()
    assert not audit(world).counters["lease_refunded"]


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("start", range(0, 400, 100))
def test_the_books_balance_at_length(start: int, tmp_path: Path) -> None:
    for seed in range(1000 + start, 1100 + start):
        run(tmp_path / f"run-{seed}", CONFIG, seed, Faults())
