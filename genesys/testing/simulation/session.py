"""One session of a run, simulated: a driver with its services and pools, as `cluster.driver` and `cluster.evolve` have them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import suppress
from dataclasses import dataclass
from random import Random
from typing import Any

from genesys.errors import TransientError
from genesys.evolution.events import (
    Event,
    LeaseGranted,
    LeaseRefunded,
    ProposalFailed,
    RunDraining,
    RunResumed,
    RunStarted,
    VerificationFailed,
    VerificationRecorded,
)
from genesys.storage import content_hash
from genesys.testing.simulation.clock import Clock, Process, Promise, Signal
from genesys.testing.simulation.disk import Disk
from genesys.testing.simulation.granter import Granter
from genesys.testing.simulation.keeper import Keeper
from genesys.testing.simulation.messages import Check, Done, Propose, Submission, Verification, Wait
from genesys.testing.simulation.network import Network
from genesys.testing.simulation.schedule import Schedule
from genesys.testing.simulation.world import World, program_of, proposal

MAX_DEATHS_IN_A_ROW = 5
MAX_DUPLICATES = 20
WAIT_LIMIT_S = 2.0
RESTART_S = 1.0  # Ray starts a service again
IDLE_S = 30.0  # who has nothing to do asks again after an event, or after this


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """What all sessions of a simulation share; `keeper` gives the tree of the latest of them."""

    clock: Clock
    network: Network
    disk: Disk
    world: World
    schedule: Schedule
    rng: Random
    on_told: Callable[[Event], None]
    keeper: Callable[[], Process]


class HolderLost(TransientError):
    """A member is there and answers nothing."""


class Member:
    """A pool's member and the call that its driver waits for, if any."""

    def __init__(self, name: str, process: Process) -> None:
        self.name, self.process = name, process
        self.answer: Promise[Any] | None = None

    @property
    def silent_until(self) -> float:
        return max(self.process.frozen_until, self.process.cut_until)


class Session:
    """A driver from its start to its end.

    Attributes:
        members: The pools' members, by name.
        strays: Members that were taken for dead while they could not be reached. They may wake up late.
        outcome: How the driver ended: resolved with "" when its pools had nothing left to do, rejected when it failed.
    """

    def __init__(self, stage: Stage, number: int, *, resume: bool) -> None:
        self.stage, self.number = stage, number
        self.news = Signal(stage.clock)
        self.driver, self.keeper, self.granter = (
            self._process("driver"),
            self._process("tree"),
            self._process("scheduler"),
        )
        self.members: dict[str, Member] = {}
        self.strays: list[Process] = []
        self.proposals_open = True
        self.is_over = False
        self._asked: dict[str, tuple[float, int, bool]] = {}  # when a waiting member of a pool last asked
        found = (entry for entry in stage.disk.entries if isinstance(entry.event, LeaseGranted))
        self._granted_at = {entry.event.lease: entry.time for entry in found}  # type: ignore[union-attr]
        self._start_keeper()
        self._start_granter()
        self.outcome: Promise[None] = self._start(self._run(resume))

    def _start(self, coroutine: Coroutine[Any, Any, None]) -> Promise[None]:
        """Run a part of the driver; if it fails, the driver has failed."""
        part = self.driver.start(coroutine)
        part.when_settled(lambda: self.outcome.reject(part.error) if part.error else None)
        return part

    def _process(self, name: str) -> Process:
        spread = 1 + self.stage.schedule.clock_spread * self.stage.rng.random()
        rate = self.stage.rng.choice((spread, 1 / spread))
        return Process(self.stage.clock, f"{self.number}/{name}", rate=rate)

    def _start_keeper(self) -> None:
        stage = self.stage
        self.keeper.body = Keeper(
            self.keeper, stage.disk, stage.schedule, stage.rng, on_told=stage.on_told, on_durable=self.news.fire
        )

    def _start_granter(self) -> None:
        process = self.granter
        process.body = Granter(
            process, self.stage.schedule, lambda *call: self.ask_tree(process, *call), self._granted_at
        )

    def ask_tree(self, caller: Process, method: str, *arguments: Any) -> Awaitable[Any]:
        return self.stage.network.ask(caller, lambda: self.keeper, method, *arguments)

    def tell_tree(self, caller: Process, method: str, *arguments: Any) -> Awaitable[Any]:
        """A member's call: one that has outlived its session reaches the next one's tree."""
        found = self.stage.keeper
        return self.stage.network.ask(caller, lambda: found() if self.is_over else self.keeper, method, *arguments)

    def ask_granter(self, caller: Process, method: str, *arguments: Any) -> Awaitable[Any]:
        return self.stage.network.ask(caller, lambda: self.granter, method, *arguments)

    # --- deaths --------------------------------------------------------------------------------------------

    def lose_keeper(self) -> None:
        """The tree's process dies; it is started again unless the session is over."""
        self.keeper.kill()
        self.keeper = self._process("tree")
        self.keeper.frozen_until = self.stage.clock.now + RESTART_S
        self._start_keeper()
        self.news.fire()

    def lose_granter(self) -> None:
        self.granter.kill()
        self.granter = self._process("scheduler")
        self.granter.frozen_until = self.stage.clock.now + RESTART_S
        self._start_granter()

    def end(self, *, with_all: bool = False) -> None:
        """Everything of it dies; members that cannot be reached only if `with_all` is said."""
        self.is_over = True
        for process in (self.driver, self.granter, self.keeper):
            process.kill()
        for member in self.members.values():
            if with_all or member.silent_until <= self.stage.clock.now:
                member.process.kill()
        for process in self.strays if with_all else ():
            process.kill()

    def watch(self, member: Member) -> None:
        """Take a member for lost when it has been silent for too long; called whenever it falls silent."""
        patience = self.stage.schedule.lease_ttl_s / self.driver.rate
        if member.silent_until - self.stage.clock.now > patience:
            self.stage.clock.after(patience, lambda: self._give_up(member))

    def _give_up(self, member: Member) -> None:
        if member.silent_until > self.stage.clock.now and member.answer is not None:
            member.answer.reject(HolderLost(f"{member.name} has been silent for too long"))

    # --- the driver ----------------------------------------------------------------------------------------

    async def _run(self, resume: bool) -> None:
        schedule, driver = self.stage.schedule, self.driver
        given = tuple(Submission((p,), (program_of(p.design),)) for p in self.stage.world.given())
        await self.ask_tree(driver, "start", started(schedule), given)
        if resume:
            await self.ask_granter(driver, "release", "", "stopped", "the driver that held them ended")
            await self.ask_tree(driver, "append", RunResumed(reason="resumed"))
        designers = [f"Designer-{i}" for i in range(schedule.n_designers)]
        verifiers = [f"Verifier-{i}" for i in range(schedule.n_verifiers)]
        pools = [self._start(self._design(designers))]
        pools += [self._start(self._keep(n, VerifierBody, self._verifications)) for n in verifiers]
        for pool in pools:
            await pool

    async def _design(self, designers: list[str]) -> None:
        for member in [self._start(self._keep(n, DesignerBody, self._proposals)) for n in designers]:
            await member
        self.proposals_open = False
        self.news.fire()

    async def _keep(
        self, name: str, body: Callable[[Process, Session], object], work: Callable[[Member], AsyncIterator[None]]
    ) -> None:
        deaths = 0
        while True:
            member = self.members[name] = Member(name, self._process(name))
            member.process.body = body(member.process, self)
            try:
                async for _ in work(member):
                    deaths = 0
                return
            except TransientError as error:
                deaths += 1
                if deaths >= MAX_DEATHS_IN_A_ROW:
                    raise
                self._end(member)
                await self.ask_tree(self.driver, "release", name)
                cause = "holder-lost" if isinstance(error, HolderLost) else "holder-died"
                await self.ask_granter(self.driver, "release", name, cause, str(error))
                await self.driver.sleep(0.1 * 2**deaths)

    def _end(self, member: Member) -> None:
        """Kill it, unless it cannot be reached: it may wake up late, to a world that has moved on."""
        if member.silent_until <= self.stage.clock.now:
            member.process.kill()
        else:
            self.strays.append(member.process)

    async def _proposals(self, member: Member) -> AsyncIterator[None]:
        while True:
            match await self.ask_tree(self.driver, "next_task", member.name):
                case Done():
                    return
                case Wait(seconds=seconds):
                    await self._pause("designers", seconds)
                case task:
                    await self._work(member, "design", task)
                    yield

    async def _verifications(self, member: Member) -> AsyncIterator[None]:
        while True:
            match await self.ask_granter(self.driver, "lease", member.name, self.proposals_open):
                case Done():
                    return
                case Wait(seconds=seconds):
                    await self._pause("verifiers", seconds)
                case task:
                    await self._work(member, "verify", task)
                    yield

    async def _pause(self, pool: str, seconds: float) -> None:
        """Ask again some time after the next event, or one member for all that wait.

        A real driver asks all the time, for each member, and is told the same until something happens.
        """
        while True:
            await self.news.wait(IDLE_S)
            await self.driver.sleep(self.stage.rng.uniform(0.0, seconds))
            state = (self.stage.clock.now // IDLE_S, len(self.stage.disk.entries), self.proposals_open)
            if self._asked.get(pool) != state:
                self._asked[pool] = state
                return

    async def _work(self, member: Member, method: str, task: object) -> None:
        called = self.stage.network.call(self.driver, member.process, method, task)
        member.answer = self.driver.start(called)
        self.watch(member)
        await member.answer
        member.answer = None

    def drain(self) -> None:
        """Somebody asks the driver to stop."""
        self._start(self._drain())

    async def _drain(self) -> None:
        with suppress(TransientError):
            await self.ask_tree(self.driver, "append", RunDraining(reason="asked to stop"))


class DesignerBody:
    """A designer: proposes, has it checked, submits both."""

    def __init__(self, process: Process, session: Session) -> None:
        self._process, self._session, self._stage = process, session, session.stage

    async def design(self, task: Propose | Check) -> None:
        if isinstance(task, Check):
            await self._checked()
            verdict = self._stage.world.verdict(task.design, task.is_seed)
            await self._session.tell_tree(self._process, "submit", Submission((verdict,)))
            return
        name = self._process.name.partition("/")[2]
        design = await self._new_design(task, name)
        if design is None:
            failed = ProposalFailed(designer=name, operator=task.operator, reason="only designs that exist")
            await self._session.tell_tree(self._process, "submit", Submission((failed,)))
            return
        await self._checked()
        proposed = proposal(design, task.operator, task.parents, name)
        submission = Submission((proposed, self._stage.world.verdict(design)), (program_of(design),))
        await self._session.tell_tree(self._process, "submit", submission)

    async def _new_design(self, task: Propose, name: str) -> str | None:
        design = self._stage.world.invent(task.parents, task.seed)
        if design is not None and await self._session.tell_tree(self._process, "claim", design, name):
            return design
        return None

    async def _checked(self) -> None:
        await self._process.sleep(self._stage.rng.expovariate(1 / self._stage.schedule.check_s))


class VerifierBody:
    """A verifier: works for a while, and says how it ended under its lease."""

    def __init__(self, process: Process, session: Session) -> None:
        self._process, self._session, self._stage = process, session, session.stage

    async def verify(self, task: Verification) -> None:
        stage = self._stage
        seconds = min(stage.world.seconds(stage.rng, task.rung), task.deadline_s)
        await self._process.sleep(seconds)
        event, blobs = self._outcome(task, seconds)
        answer = await self._settle(event, blobs)
        if not answer.accepted:
            await self._settle(VerificationFailed(**_key(task), cause="integrity", reason=answer.reason), ())

    def _outcome(self, task: Verification, seconds: float) -> tuple[Event, tuple[bytes, ...]]:
        stage = self._stage
        used: dict[str, Any] = {"n_tokens": stage.schedule.n_tokens(task.rung), "gpu_seconds": seconds}
        if stage.rng.random() < stage.schedule.p_killed:
            return LeaseRefunded(lease=task.lease, cause="killed", **used), ()
        cause = stage.world.failure(task.design, task.scale, task.seed)
        if cause:
            return VerificationFailed(**_key(task), cause=cause, seconds=seconds, **used), ()
        report = f"{task.lease}: {task.design} at {task.scale}".encode()
        metrics = stage.world.metrics(task.design, task.scale, task.seed)
        recorded = VerificationRecorded(
            **_key(task), metrics=metrics, report=content_hash(report), seconds=seconds, **used
        )
        return recorded, (report,)

    async def _settle(self, event: Event, blobs: tuple[bytes, ...]) -> Any:
        return await self._session.tell_tree(self._process, "append", event, blobs)


def _key(task: Verification) -> dict[str, Any]:
    return {"lease": task.lease, "design": task.design, "scale": task.scale, "seed": task.seed}


def started(schedule: Schedule) -> RunStarted:
    """A simulated run's first event."""
    extra = schedule.training_seeds - 1
    costs = {
        scale: {"n_tokens": schedule.n_tokens(k), "gpu_seconds": 4 * schedule.mean_s(k)}
        for k, scale in enumerate(schedule.scales)
    }
    config = {
        "training_seeds": dict.fromkeys(schedule.scales, schedule.training_seeds),
        "replicate_quotas": {s: q * extra for s, q in zip(schedule.scales, schedule.quotas, strict=True)},
        "caps": dict(schedule.caps),
        "run_costs": costs,
    }
    return RunStarted(
        run=f"simulation-{schedule.seed}", scales=schedule.scales, quotas=schedule.quotas, config=config,
        reference="given-0" if schedule.has_reference and schedule.n_seeds else "",
    )  # fmt: skip
