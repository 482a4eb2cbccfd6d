"""Supervises a run: keeps the pools at work, replaces what dies, and ends when the ladder is spent.

Policies decide inside the actors; this controller only hands their decisions on. Whatever it holds may be lost: a new
driver with `resume` takes back the leases of the old one and goes on from the journal.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field

from actors.handles import SchedulerHandle, TreeHandle
from actors.messages import Done, Progress, VerifyTask, Wait
from cluster.spawn import Spawned
from genesys.errors import GenesysError, TransientError
from genesys.evolution.events import RunDraining
from genesys.evolution.status import RunStatus

log = logging.getLogger(__name__)

STATUS_EVERY_S = 1.0
MAX_DEATHS_IN_A_ROW = 5
WAIT_LIMIT_S = 2.0

Spawn = Callable[[str], Spawned]


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """What a progress display shows: the books, and what each verifier does."""

    status: RunStatus
    verifiers: dict[str, Progress]


@dataclass(slots=True, kw_only=True)
class Driver:
    """One run's supervisor.

    Args:
        spawn_designer, spawn_verifier: Start a pool's member of a given name.
        designers, verifiers: Names of the pools' members.
        on_snapshot: Called about once a second.
        should_stop: Polled with it; a reason drains the run: what runs may finish, nothing new starts.
    """

    tree: TreeHandle
    scheduler: SchedulerHandle
    spawn_designer: Spawn
    spawn_verifier: Spawn
    designers: Sequence[str]
    verifiers: Sequence[str]
    on_snapshot: Callable[[Snapshot], None] = lambda _: None
    should_stop: Callable[[], str] = lambda: ""
    pool: dict[str, Spawned] = field(default_factory=dict)

    async def run(self) -> RunStatus:
        """Work until every quota is spent, or the run is drained.

        Raises:
            TransientError: A pool member died again and again without finishing anything.
        """
        try:
            async with asyncio.TaskGroup() as group:
                watcher = group.create_task(self._watch())
                pools = [group.create_task(self._design(group))]
                pools += [
                    group.create_task(self._keep(n, self.spawn_verifier, self._verifications)) for n in self.verifiers
                ]
                await asyncio.wait(pools)
                watcher.cancel()
        except BaseExceptionGroup as failures:
            raise failures.exceptions[0] from None
        return await self._show()

    async def _design(self, group: asyncio.TaskGroup) -> None:
        pool = [group.create_task(self._keep(n, self.spawn_designer, self._proposals)) for n in self.designers]
        await asyncio.wait(pool)
        await self.scheduler.close_proposals()

    async def _keep(self, name: str, spawn: Spawn, work: Callable[[Spawned], AsyncIterator[None]]) -> None:
        """Keep one member of a pool alive until its work is done; `work` yields after each piece that it finished."""
        deaths = 0
        while True:
            member = spawn(name)
            self.pool[name] = member
            try:
                await member.handle.ready()
                async for _ in work(member):
                    deaths = 0
                return
            except TransientError as error:
                deaths += 1
                log.warning("%s died (%s); starting another", name, error)
                if deaths >= MAX_DEATHS_IN_A_ROW:
                    raise TransientError(
                        f"Cannot keep {name} alive: it died {deaths} times in a row. {error}"
                    ) from error
                await self.tree.release(name)
                await self.scheduler.release(name, "holder-died", str(error))
                await asyncio.sleep(0.1 * 2**deaths)
            finally:
                self.pool.pop(name, None)
                member.end()

    async def _proposals(self, member: Spawned) -> AsyncIterator[None]:
        waited = 0.0
        while True:
            match await self.tree.next_task(member.name):
                case Done():
                    return
                case Wait(seconds=seconds):
                    waited = min(WAIT_LIMIT_S, max(seconds, waited * 1.5))
                    await asyncio.sleep(waited)
                case task:
                    waited = 0.0
                    await member.handle.design(task)
                    yield

    async def _verifications(self, member: Spawned) -> AsyncIterator[None]:
        while True:
            match await self.scheduler.lease(member.name):
                case Done():
                    return
                case Wait(seconds=seconds):
                    await asyncio.sleep(seconds)
                case VerifyTask() as task:
                    await member.handle.verify(task)
                    yield

    async def _watch(self) -> None:
        draining = False
        while True:
            with contextlib.suppress(GenesysError):  # a glance that fails is taken again
                reason = self.should_stop()
                if reason and not draining:
                    await self.tree.append(RunDraining(reason=reason), -1)
                    draining = True
                await self._show()
            await asyncio.sleep(STATUS_EVERY_S)

    async def _show(self) -> RunStatus:
        status = await self.tree.status()
        progress: dict[str, Progress] = {}
        for name in self.verifiers:
            member = self.pool.get(name)
            if member is not None:
                with contextlib.suppress(TransientError, TimeoutError):
                    progress[name] = await asyncio.wait_for(member.handle.progress(), STATUS_EVERY_S)
        self.on_snapshot(Snapshot(status=status, verifiers=progress))
        return status
