"""Designs a second through tree, scheduler and actors when the work itself is nothing.

    python -m benchmarks.lifecycle [N_DESIGNS]

A real local Ray cluster, a real journal with one durable write for what waits together, rule-based designers, and
verifiers and checkers that answer at once. Every design is proposed, checked, journaled, leased, verified, committed, its
report checked and written. The goal is scaled by how fast the machine is at the time.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
import time
from pathlib import Path

import ray

from actors.budget_scheduler import SchedulerSettings
from actors.designer import DesignerActor
from actors.evolution_tree import TreeSettings
from actors.handles import RayObjects, ServiceHandle
from actors.messages import Submission
from actors.verifier import Data, VerifierActor, VerifierSettings
from benchmarks._calibration import speed
from benchmarks._report import Report
from cluster.driver import Driver
from cluster.planning import make_plan
from cluster.session import ray_session
from cluster.spawn import Spawned, spawn_scheduler, spawn_tree
from genesys.config import RunConfig
from genesys.storage import RunStore
from genesys.testing.null_cage import NullCage, NullScorer

N_DESIGNERS, N_VERIFIERS, N_LANES = 1, 1, 48  # an actor serves several lanes, so that calls overlap
GOAL_DESIGNS_PER_S = 200.0


async def _run(folder: Path, n_designs: int) -> float:
    plan = make_plan(RunConfig(quotas=(n_designs, n_designs // 10, n_designs // 100)), RunStore(folder))
    tree = spawn_tree(TreeSettings(run_folder=folder, selection=plan.selection, ahead=256))
    objects = RayObjects()
    submissions = tuple(
        Submission(events=(e,), program=objects.put(p)) for e, p in zip(plan.seeds, plan.programs, strict=True)
    )
    await tree.start(plan.started, submissions)
    scheduler = spawn_scheduler(tree, SchedulerSettings(scales=plan.ladder.scales, promotion=plan.promotion))
    data = Data(hash="null", files={})
    settings = VerifierSettings(run_folder=folder, cache_folder=folder / "cache", probes=False)
    (folder / "cache" / "shards" / "null").mkdir(parents=True)
    designer = DesignerActor.options(num_cpus=0, max_concurrency=N_LANES).remote(
        "Designer", tree, plan.ladder.scales, 257, cage=NullCage()
    )
    verifier = VerifierActor.options(num_cpus=0, max_concurrency=N_LANES).remote(
        "Verifier", tree, settings, data, cage=NullCage(), scorer=NullScorer()
    )
    designers, verifiers = ServiceHandle(designer), ServiceHandle(verifier)
    driver = Driver(
        tree=tree,
        scheduler=scheduler,
        spawn_designer=lambda name: Spawned(name, None, designers),
        spawn_verifier=lambda name: Spawned(name, None, verifiers),
        designers=[f"Designer-{i}" for i in range(N_LANES)],
        verifiers=[f"Verifier-{i}" for i in range(N_LANES)],
    )
    await asyncio.gather(designers.ready(), verifiers.ready())
    started = time.monotonic()
    status = await driver.run()
    seconds = time.monotonic() - started
    assert status.scales[0].verified == n_designs, status
    return n_designs / seconds


def main() -> int:
    """Measure, print, and give the exit status."""
    n_designs = int(sys.argv[1]) if len(sys.argv) > 1 else 2000
    report = Report("lifecycle")
    before = speed()
    with (
        tempfile.TemporaryDirectory(prefix="genesys-lifecycle-") as folder,
        ray_session(namespace="lifecycle", n_cpus=4, dashboard=False),
    ):
        rate = asyncio.run(_run(Path(folder) / "run", n_designs))
    machine = min(1.0, (before + speed()) / 2)
    report.add("this machine", machine, "of the one of the goal")
    report.add("designs", rate, "designs/s", at_least=GOAL_DESIGNS_PER_S * machine)
    assert not ray.is_initialized()
    return report.exit_code


if __name__ == "__main__":
    sys.exit(main())
