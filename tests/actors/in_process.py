"""The actors' classes wired together without Ray, with a measure on every message."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from ray import cloudpickle

from actors.budget_scheduler import BudgetScheduler, SchedulerSettings
from actors.designer import Designer
from actors.evolution_tree import EvolutionTree, TreeSettings
from actors.messages import Done, Submission, Wait
from actors.sessions import SessionTools
from actors.verifier import Data, Verifier, VerifierSettings
from cluster.evolve import focus_of, session_settings
from cluster.planning import make_plan
from genesys.config import RunConfig
from genesys.llm.book import CallBook
from genesys.llm.calls import CALLS_FILE
from genesys.llm.local_treasury import LocalTreasury
from genesys.llm.prices import PriceList
from genesys.storage import RunStore
from genesys.testing.null_cage import NullCage, NullScorer


class BoxedObjects:
    """An object store in this process: a reference is a small key."""

    def __init__(self) -> None:
        self.values: list[bytes] = []

    def put(self, value: bytes) -> int:
        self.values.append(value)
        return len(self.values) - 1

    async def get(self, ref: int) -> bytes:
        return self.values[ref]


class Measured:
    """A handle to a plain instance that notes the pickled size of every argument and answer."""

    def __init__(self, target: Any, sizes: dict[str, int]) -> None:
        self._target, self._sizes = target, sizes

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._target, name)

        async def call(*args: Any) -> Any:
            answer = await method(*args)
            size = max(len(cloudpickle.dumps(args)), len(cloudpickle.dumps(answer)))
            key = f"{type(self._target).__name__}.{name}"
            self._sizes[key] = max(size, self._sizes.get(key, 0))
            return answer

        return call


def local_tools(config: RunConfig, folder: Path, client: Any) -> SessionTools:
    """For sessions in this process, with the run's real books of calls."""
    prices = PriceList.of(config.agents).to_json()
    book = CallBook(folder / CALLS_FILE, config.agents.caps, prices)
    return SessionTools(agents=config.agents, prices=prices, treasury=LocalTreasury(book), client=client)


class World:
    """One run's actors as plain objects."""

    def __init__(
        self,
        folder: Path,
        config: RunConfig,
        *,
        cage: Any = None,
        shards: dict[str, bytes] | None = None,
        max_failed: int = 200,
        client: Any = None,
    ) -> None:
        self.sizes: dict[str, int] = {}
        self.objects = BoxedObjects()
        self.config = config
        self.plan = make_plan(config, RunStore(folder))
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        cage = cage or NullCage()
        settings = TreeSettings(
            run_folder=folder,
            selection=self.plan.selection,
            seed=config.seed,
            max_failed_proposals=max_failed,
            adaptive=config.designers.adaptive,
            focus=focus_of(config.designers),
            ahead=config.designers.resolved_ahead,
            sessions=session_settings(config, folder, 257),
        )
        self.tools = None if client is None else local_tools(config, folder, client)
        self.tree = self._measured(EvolutionTree(settings, objects=self.objects))
        self.scheduler = self._measured(
            BudgetScheduler(self.tree, SchedulerSettings(scales=self.plan.ladder.scales, promotion=self.plan.promotion))
        )
        self.designer = self._measured(
            Designer(
                "Designer-1",
                self.tree,
                self.plan.ladder.scales,
                257,
                cage=cage,
                objects=self.objects,
                tools=self.tools,
            )
        )
        data = Data(
            hash="null", files={n: self.objects.put(b) for n, b in (shards or {"manifest.json": b"{}"}).items()}
        )
        verifier_settings = VerifierSettings(run_folder=folder, cache_folder=folder / "cache")
        self.verifier = self._measured(
            Verifier(
                "Verifier-1",
                self.tree,
                verifier_settings,
                data,
                cage=cage,
                objects=self.objects,
                scorer=NullScorer() if isinstance(cage, NullCage) else None,
            )
        )

    def _measured(self, target: Any) -> Any:
        return Measured(target, self.sizes)

    async def start(self) -> None:
        submissions = tuple(
            Submission(events=(e,), program=self.objects.put(p))
            for e, p in zip(self.plan.seeds, self.plan.programs, strict=True)
        )
        await self.tree.start(self.plan.started, submissions)
        await self.verifier.ready()

    async def run(self) -> None:
        """Work until nothing is left to do."""
        designing = True
        for _ in range(10_000):
            task = await self.tree.next_task("Designer-1") if designing else Done(reason="")
            if designing and isinstance(task, Done):
                designing = False
            elif not isinstance(task, (Wait, Done)):
                await self.designer.design(task)
            lease = await self.scheduler.lease("Verifier-1", designing)
            if isinstance(lease, Done):
                return
            if not isinstance(lease, Wait):
                await self.verifier.verify(lease)
        raise AssertionError("the run does not end")


def run_world(world: World) -> None:
    async def work() -> None:
        await world.start()
        await world.run()

    asyncio.run(work())
