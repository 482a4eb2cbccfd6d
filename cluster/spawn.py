"""Starts the actors with their names, resources and restarts."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import ray
from ray.exceptions import RayError

from actors.budget_scheduler import BudgetSchedulerActor, SchedulerSettings
from actors.designer import DesignerActor
from actors.evolution_tree import EvolutionTreeActor, TreeSettings
from actors.handles import MemberHandle, SchedulerHandle, ServiceHandle, TreasurerHandle, TreeHandle
from actors.messages import DesignSession, VerifyTask
from actors.sessions import SessionTools
from actors.treasurer import TreasurerActor, TreasurerSettings
from actors.verifier import Data, VerifierActor, VerifierSettings
from genesys.checker import VerdictCache
from genesys.config import VerifiersConfig
from genesys.ladder import Scale
from genesys.sandbox.layers import Level

_FOREVER: dict[str, Any] = {"max_restarts": -1, "max_task_retries": 0}
TREE_NAME, SCHEDULER_NAME, TREASURER_NAME = "EvolutionTree", "BudgetScheduler", "Treasurer"
N_CONCURRENT = 64  # calls that a service actor may have open at once
N_CALLS = 1024  # of the treasurer: a reservation may wait for a place in its model's rate limits


@dataclass(frozen=True, slots=True)
class Spawned:
    """A member of a pool: its typed client, and the actor where this member has one to itself."""

    name: str
    actor: Any
    handle: Any

    def end(self) -> None:
        """Kill the actor, if it is this member's own and still there."""
        if self.actor is not None:
            with contextlib.suppress(RayError):  # it is gone, or the session is
                ray.kill(self.actor)


def spawn_tree(settings: TreeSettings) -> TreeHandle:
    """The keeper of the books; after a crash Ray starts it again and it replays its journal."""
    actor = EvolutionTreeActor.options(name=TREE_NAME, num_cpus=0, max_concurrency=N_CONCURRENT, **_FOREVER).remote(
        settings
    )
    return cast(TreeHandle, ServiceHandle(actor, TREE_NAME))


def spawn_scheduler(tree: TreeHandle, settings: SchedulerSettings) -> SchedulerHandle:
    """The granter of leases; after a crash it replays the tree's events."""
    actor = BudgetSchedulerActor.options(
        name=SCHEDULER_NAME, num_cpus=0, max_concurrency=N_CONCURRENT, **_FOREVER
    ).remote(tree, settings)
    return cast(SchedulerHandle, ServiceHandle(actor, SCHEDULER_NAME))


def spawn_treasurer(settings: TreasurerSettings) -> TreasurerHandle:
    """The keeper of the money; after a crash it reads its books again."""
    actor = TreasurerActor.options(name=TREASURER_NAME, num_cpus=0, max_concurrency=N_CALLS, **_FOREVER).remote(
        settings
    )
    return cast(TreasurerHandle, ServiceHandle(actor, TREASURER_NAME))


def spawn_designer(
    name: str, tree: TreeHandle, scales: tuple[Scale, ...], vocab_size: int, *, verdicts: Path, sandbox: Level,
    tools: SessionTools | None = None,
) -> Spawned:  # fmt: skip
    """One designer. It is not restarted by Ray: the driver starts a new one and frees what the old one held.

    Args:
        verdicts: Folder in which the checker's verdicts are kept.
        sandbox: The level of isolation below which it refuses to work.
        tools: For sessions of language models.
    """
    actor = DesignerActor.options(name=name, num_cpus=0.5).remote(
        name, tree, scales, vocab_size, verdicts=VerdictCache(verdicts), sandbox=sandbox, tools=tools
    )
    return Spawned(name, actor, MemberHandle(actor, _label))


def spawn_verifier(
    name: str, tree: TreeHandle, config: VerifiersConfig, settings: VerifierSettings, data: Data
) -> Spawned:
    """One verifier, on a reserved accelerator if the configuration says so; it waits until there is one."""
    resources: dict[str, Any] = {"num_cpus": config.threads if not config.gpus_per_verification else 1}
    if config.gpus_per_verification:
        resources["num_gpus"] = config.gpus_per_verification
    if config.accelerator_type:
        resources["accelerator_type"] = config.accelerator_type
    actor = VerifierActor.options(name=name, max_concurrency=4, **resources).remote(name, tree, settings, data)
    return Spawned(name, actor, MemberHandle(actor, _label))


def _label(method: str, *args: Any) -> str:
    """What the dashboard's task list calls an actor call."""
    task = args[0] if args else None
    if isinstance(task, DesignSession):
        return f"{method} {task.session}"
    if isinstance(task, VerifyTask):
        return f"verify {task.name} at {task.scale.name}"
    return f"{method} {getattr(task, 'operator', getattr(task, 'name', ''))}".strip()


def end_services(*handles: object) -> None:
    """Kill the service actors behind these handles: their names are free again, their journal is whole."""
    for handle in handles:
        assert isinstance(handle, ServiceHandle)
        with contextlib.suppress(RayError):
            ray.kill(handle.actor)


def cache_folder() -> Path:
    """Where a host keeps prepared corpora."""
    return Path.home() / ".cache" / "genesys"
