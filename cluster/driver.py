"""Supervises a run: keeps the pools at work, replaces what dies, and ends when the ladder is spent.

Policies decide inside the actors; this controller only hands their decisions on. Whatever it holds may be lost: a new
driver with `resume` takes back the leases of the old one and goes on from the journal.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field

from actors.handles import SchedulerHandle, TreeHandle
from actors.messages import Done, Progress, VerifyTask, Wait
from cluster.spawn import Spawned
from genesys.errors import TransientError
from genesys.evolution.events import RunDraining
from genesys.evolution.status import CapStatus, RunStatus

log = logging.getLogger(__name__)

STATUS_EVERY_S = 1.0
MONEY_EVERY_S = 10.0  # it is summed over all calls of the run
MAX_DEATHS_IN_A_ROW = 5
WAIT_LIMIT_S = 2.0
READY_GLANCE_S = 2.0
LEASE_TTL_S = 60.0
GLANCES_PER_TTL = 5

Spawn = Callable[[str], Spawned]


class HolderLost(TransientError):
    """A pool's member is there and answers nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """What a progress display shows: the books, what each verifier does, and what language models cost, if there are any."""

    status: RunStatus
    verifiers: dict[str, Progress]
    agents: CapStatus | None = None


@dataclass(slots=True, kw_only=True)
class Driver:
    """One run's supervisor.

    Args:
        spawn_designer, spawn_verifier: Start a pool's member of a given name.
        designers, verifiers: Names of the pools' members.
        slots: Designs that each designer may have in the making; to the tree, each slot is a designer of its own.
        on_snapshot: Called about once a second.
        should_stop: Polled with it; a reason drains the run: what runs may finish, nothing new starts.
        money: Asked now and then for what language models cost; None without any.
        pool: Members that are ready, by name.
        proposals_open: Whether designers may still propose.
        lease_ttl_s: How long a member at work may answer nothing before it is ended and its work is handed to another.
    """

    tree: TreeHandle
    scheduler: SchedulerHandle
    spawn_designer: Spawn
    spawn_verifier: Spawn
    designers: Sequence[str]
    verifiers: Sequence[str]
    slots: int = 1
    on_snapshot: Callable[[Snapshot], None] = lambda _: None
    should_stop: Callable[[], str] = lambda: ""
    money: Callable[[], Awaitable[CapStatus]] | None = None
    pool: dict[str, Spawned] = field(default_factory=dict)
    proposals_open: bool = True
    lease_ttl_s: float = LEASE_TTL_S
    _agents: CapStatus | None = None
    _agents_at: float = -MONEY_EVERY_S

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
        self.proposals_open = False

    async def _keep(self, name: str, spawn: Spawn, work: Callable[[Spawned], AsyncIterator[None]]) -> None:
        """Keep one member of a pool alive until its work is done; `work` yields after each piece that it finished."""
        deaths = 0
        while True:
            member = spawn(name)
            try:
                if not await self._is_ready(member):
                    return
                self.pool[name] = member
                async for _ in self._attended(member, work(member)):
                    deaths = 0
                return
            except TransientError as error:
                deaths += 1
                log.warning("%s died (%s); starting another", name, error)
                if deaths >= MAX_DEATHS_IN_A_ROW:
                    raise TransientError(
                        f"Cannot keep {name} alive: it died {deaths} times in a row. {error}"
                    ) from error
                member.end()  # before its work is handed to another: it may be alive and out of reach
                await self.tree.release(name)
                cause = "holder-lost" if isinstance(error, HolderLost) else "holder-died"
                await self.scheduler.release(name, cause, str(error))
                await asyncio.sleep(0.1 * 2**deaths)
            finally:
                self.pool.pop(name, None)
                member.end()

    async def _attended(self, member: Spawned, pieces: AsyncIterator[None]) -> AsyncIterator[None]:
        """The pieces of a member's work, as long as it answers.

        Raises:
            HolderLost: It has been silent for too long, stopped or out of reach.
        """
        silence = asyncio.create_task(self._silence(member))
        piece = asyncio.create_task(_is_there(pieces))
        try:
            while True:
                await asyncio.wait((piece, silence), return_when=asyncio.FIRST_COMPLETED)
                if not piece.done():
                    raise HolderLost(f"{member.name} has answered nothing for {self.lease_ttl_s:g} s")
                if not await piece:
                    return
                yield
                piece = asyncio.create_task(_is_there(pieces))
        finally:
            silence.cancel()
            piece.cancel()

    async def _silence(self, member: Spawned) -> None:
        """Return once a member has not answered for the time of a lease.

        Glances are counted rather than seconds: a driver that was stopped itself gives nobody up when it wakes.
        """
        glance_s, clock = self.lease_ttl_s / GLANCES_PER_TTL, asyncio.get_running_loop().time
        unanswered = 0
        while unanswered < GLANCES_PER_TTL:
            began = clock()
            try:
                await asyncio.wait_for(member.handle.ping(), glance_s)
                unanswered = 0
            except (TransientError, TimeoutError):  # of one that died, its work will tell
                unanswered += 1
            await asyncio.sleep(began + glance_s - clock())

    async def _is_ready(self, member: Spawned) -> bool:
        """Wait until a member runs, which may take as long as its cards are away; False when the run ends before."""
        ready = asyncio.ensure_future(member.handle.ready())
        try:
            while not ready.done():
                await asyncio.wait([ready], timeout=READY_GLANCE_S)
                if not ready.done() and (await self.tree.status()).ended:
                    return False
            await ready
            return True
        finally:
            ready.cancel()

    async def _proposals(self, member: Spawned) -> AsyncIterator[None]:
        """A member's work in all its slots; the first that fails ends the others, whose work dies with the member."""
        names = [member.name] if self.slots == 1 else [f"{member.name}.{k}" for k in range(1, self.slots + 1)]
        finished: asyncio.Queue[None] = asyncio.Queue()
        slots = {asyncio.create_task(self._slot(member, name, finished)) for name in names}
        try:
            while slots:
                piece = asyncio.create_task(finished.get())
                await asyncio.wait({piece, *slots}, return_when=asyncio.FIRST_COMPLETED)
                piece.cancel()
                for ended in [slot for slot in slots if slot.done()]:
                    slots.discard(ended)
                    ended.result()
                if piece.done():
                    yield
        finally:
            for slot in slots:
                slot.cancel()

    async def _slot(self, member: Spawned, name: str, finished: asyncio.Queue[None]) -> None:
        """One slot's tasks, one after the other, until there are no more."""
        waited = 0.0
        while True:
            match await self.tree.next_task(name):
                case Done():
                    return
                case Wait(seconds=seconds):
                    waited = min(WAIT_LIMIT_S, max(seconds, waited * 1.5))
                    await asyncio.sleep(waited)
                case task:
                    waited = 0.0
                    await member.handle.design(task)
                    finished.put_nowait(None)

    async def _verifications(self, member: Spawned) -> AsyncIterator[None]:
        while True:
            match await self.scheduler.lease(member.name, self.proposals_open):
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
            with contextlib.suppress(TransientError):  # a glance that fails is taken again
                reason = self.should_stop()
                if reason and not draining:
                    await self.tree.append(RunDraining(reason=reason))
                    draining = True
                await self._show()
            await asyncio.sleep(STATUS_EVERY_S)

    async def _show(self) -> RunStatus:
        status = await self.tree.status()
        members = [self.pool[name] for name in self.verifiers if name in self.pool]
        seen = await asyncio.gather(*(self._progress(member) for member in members))
        progress = {member.name: p for member, p in zip(members, seen, strict=True) if p is not None}
        self.on_snapshot(Snapshot(status=status, verifiers=progress, agents=await self._money()))
        return status

    async def _money(self) -> CapStatus | None:
        now = asyncio.get_running_loop().time()
        if self.money is not None and now - self._agents_at >= MONEY_EVERY_S:
            with contextlib.suppress(TransientError, TimeoutError):  # the next glance will tell
                self._agents = await asyncio.wait_for(self.money(), STATUS_EVERY_S)
                self._agents_at = now
        return self._agents

    async def _progress(self, member: Spawned) -> Progress | None:
        try:
            return await asyncio.wait_for(member.handle.progress(), STATUS_EVERY_S)
        except (TransientError, TimeoutError):
            return None  # it is busy or dying; the next glance will tell


async def _is_there(pieces: AsyncIterator[None]) -> bool:
    """Whether another piece came."""
    async for _ in pieces:
        return True
    return False
