"""The actors' real classes and the real driver in one process, under a virtual clock, over a network and on hosts that fail.

Each actor stands for a process that can be killed, stopped or cut off. Calls between them go through the real handles,
over wires on which messages are late, lost, or come twice. What a killed process had under way is gone, be it half-way
through a write; one that is cut off goes on unseen. Everything is drawn from one seed.
"""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Callable, Mapping
from contextlib import closing
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

from ray.exceptions import ActorDiedError, ActorUnavailableError

from actors.batching import Answer
from actors.budget_scheduler import BudgetScheduler, SchedulerSettings
from actors.designer import Designer
from actors.evolution_tree import EvolutionTree, TreeSettings
from actors.handles import MemberHandle, ServiceHandle
from actors.messages import Submission
from actors.sessions import SessionTools
from actors.treasurer import Treasurer, TreasurerSettings
from actors.verifier import Data, Verifier, VerifierSettings
from cluster.driver import Driver
from cluster.evolve import session_settings
from cluster.planning import make_plan
from genesys.config import RunConfig
from genesys.errors import TransientError
from genesys.evolution.events import Event, RunResumed
from genesys.evolution.fitness import resolve_fitness
from genesys.evolution.tree import POISON_AFTER
from genesys.llm.calls import CALLS_FILE
from genesys.llm.prices import PriceList
from genesys.sandbox import Policy
from genesys.storage import RunStore, open_tree
from genesys.storage.journal import Entry
from genesys.testing.null_cage import NullCage, NullScorer
from tests.actors.scripted_client import ScriptedClient
from tests.actors.virtual_time import VirtualTimeLoop, settled

MAX_DRIVERS = 30
LONGEST_S = 50_000.0  # of virtual time; runs take some thousands
_current: ContextVar[Process | None] = ContextVar("process", default=None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Faults:
    """How often things go wrong: the chance of each message's fate, and the mean time between blows to a process.

    Attributes:
        in_a_write: Chance that the tree dies, or is cut off, during a write.
        may_poison: Whether a verifier may be struck that holds what two others died of.
    """

    lost: float = 0.02
    lost_answer: float = 0.02
    twice: float = 0.03
    late: float = 0.02
    every_s: float = 6.0
    n_blows: int = 12
    in_a_write: float = 0.1
    may_poison: bool = True


NO_FAULTS = Faults(lost=0, lost_answer=0, twice=0, late=0, n_blows=0, in_a_write=0)


class Process:
    """What one actor's code runs in. Every task that is begun inside belongs to it."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.target: Any = None
        self.tasks: dict[asyncio.Task[Any], None] = {}
        self.died: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._awake = asyncio.Event()
        self._awake.set()

    @property
    def is_dead(self) -> bool:
        return self.died.done()

    def kill(self) -> None:
        """As SIGKILL: nothing of it runs any more."""
        if not self.is_dead:
            self.died.set_result(None)
            for task in list(self.tasks):
                task.cancel()

    def stop(self, seconds: float) -> None:
        """As SIGSTOP, and SIGCONT some time later."""
        self._awake.clear()
        asyncio.get_running_loop().call_later(seconds, self._awake.set)

    async def running(self) -> None:
        """Return once it may run: at once, when it wakes, or never."""
        await self._awake.wait()
        if self.is_dead:
            await asyncio.get_running_loop().create_future()

    def make(self, target: Callable[[], Any]) -> None:
        """Construct the actor inside."""
        token = _current.set(self)
        try:
            self.target = target()
        finally:
            _current.reset(token)

    def begin(self, work: Callable[[], Any]) -> asyncio.Task[Any]:
        """Run a coroutine function inside."""
        token = _current.set(self)
        try:
            return asyncio.get_running_loop().create_task(self._when_running(work))
        finally:
            _current.reset(token)

    def serve(self, method: str, args: tuple[Any, ...]) -> asyncio.Task[Any]:
        """Serve a call, whether or not somebody still waits for the answer."""
        serving = self.begin(lambda: getattr(self.target, method)(*args))
        serving.add_done_callback(lambda done: done.cancelled() or done.exception())
        return serving

    async def _when_running(self, work: Callable[[], Any]) -> Any:
        await self.running()
        answer = await work()
        await self.running()
        return answer


class SlowCage(NullCage):
    """A null cage whose jobs take their time, and stand still with their process."""

    def __init__(self, rng: Random, process: Process, mean_s: float) -> None:
        super().__init__()
        self._rng, self._process, self._mean_s = rng, process, mean_s

    async def run(self, entry: str, request: Mapping[str, Any], policy: Policy) -> dict[str, Any]:
        await asyncio.sleep(self._rng.expovariate(1 / self._mean_s))
        await self._process.running()
        return await super().run(entry, request, policy)


class ByValue:
    """No object store: values travel in the messages, as small ones do over Ray."""

    def put(self, value: bytes) -> bytes:
        return value

    async def get(self, ref: bytes) -> bytes:
        return ref


class Wire:
    """What stands for Ray's handle of an actor: `wire.method.remote(...)` is a call over the network."""

    def __init__(self, world: World, find: Callable[[], Process], *, is_service: bool) -> None:
        self._world, self._find, self._is_service = world, find, is_service

    def __getattr__(self, method: str) -> _WireMethod:
        return _WireMethod(self, method)

    async def call(self, method: str, args: tuple[Any, ...]) -> Any:
        world, caller = self._world, _current.get()
        rng, faults = world.rng, world.faults
        if caller is not None:
            await caller.running()
        await world.travel()
        process = self._find()
        if process.is_dead:
            raise ActorDiedError()
        if process in world.cut_off or (self._is_service and rng.random() < faults.lost):
            await asyncio.sleep(rng.uniform(0, 3))
            raise ActorUnavailableError("the request was lost", None)
        if self._is_service and rng.random() < faults.twice:
            asyncio.get_running_loop().call_later(rng.uniform(0, 20), self._again, process, method, args)
        serving = process.serve(method, args)
        await asyncio.wait((serving, process.died), return_when=asyncio.FIRST_COMPLETED)
        if not serving.done() or serving.cancelled():
            raise ActorDiedError()
        await world.travel()
        if process in world.cut_off or (self._is_service and rng.random() < faults.lost_answer):
            raise ActorUnavailableError("the answer was lost", None)
        answer = serving.result()
        if process.name == "EvolutionTree":
            world.note_acknowledged(args, answer)
        return answer

    def _again(self, process: Process, method: str, args: tuple[Any, ...]) -> None:
        if not process.is_dead:
            process.serve(method, args)


@dataclass(frozen=True)
class _WireMethod:
    wire: Wire
    method: str

    def remote(self, *args: Any) -> Any:
        return self.wire.call(self.method, args)


@dataclass(frozen=True)
class Member:
    """What `Spawned` is to the driver."""

    name: str
    process: Process
    handle: MemberHandle
    world: World

    def end(self) -> None:
        """Kill it, within the seconds that Ray takes for a stopped process; one that is cut off is not reached."""
        if self.process not in self.world.cut_off:
            delay_s = self.world.rng.choice((0.0, 0.0, 6.0))
            asyncio.get_running_loop().call_later(delay_s, self.process.kill)


class World:
    """A run from its start to its end, whatever is done to it.

    Attributes:
        blows: What was done, in words.
        prefixes: The journal as it stood at each death of the tree.
        acknowledged: Events that somebody was told to be in the books.
    """

    def __init__(self, folder: Path, config: RunConfig, seed: int, faults: Faults) -> None:
        self.folder, self.config, self.faults = folder, config, faults
        self.rng = Random(seed)
        self.plan = make_plan(config, RunStore(folder))
        self.services: dict[str, Process] = {}
        self.members: dict[str, Process] = {}
        self.driver: Process | None = None
        self.cut_off: set[Process] = set()
        self.blows: list[str] = []
        self.prefixes: list[list[Entry]] = []
        self.acknowledged: list[Event] = []
        self.client = ScriptedClient(seconds=1.0)
        (folder / "cache" / "shards" / "null").mkdir(parents=True)

    def run(self) -> None:
        """Work until the run has ended.

        Raises:
            AssertionError: It does not end.
        """
        loop = VirtualTimeLoop()
        loop.executor = self._write
        loop.set_task_factory(_in_its_process)
        try:
            loop.run_until_complete(self._until_the_end())
        finally:
            _end_tasks(loop)
            loop.close()
            gc.collect()  # those who died hold their journals open in cycles

    async def _until_the_end(self) -> None:
        try:
            async with asyncio.timeout(LONGEST_S):
                await self._drive_on()
        except TimeoutError:
            raise AssertionError(f"the run does not end; {self.blows}") from None

    async def _drive_on(self) -> None:
        blows = asyncio.create_task(self._strike())
        for n in range(MAX_DRIVERS):
            self.driver = Process("Driver")
            driving = self.driver.begin(lambda resume=n > 0: self._drive(resume=resume))
            await asyncio.wait((driving,))
            self._end_actors()
            if not driving.cancelled() and not isinstance(driving.exception(), TransientError):
                blows.cancel()
                driving.result()
                await asyncio.sleep(500)  # whoever was cut off or stopped comes back, and is refused
                return
            await asyncio.sleep(self.rng.uniform(0, 10))
        raise AssertionError(f"the run does not end; {self.blows}")

    async def _drive(self, *, resume: bool) -> None:
        """What `cluster.evolve` does, with simulated processes."""
        plan = self.plan
        self._begin_service("EvolutionTree")
        self._begin_service("BudgetScheduler")
        if self.config.agents.models:
            self._begin_service("Treasurer")
        tree, scheduler = self._service("EvolutionTree"), self._service("BudgetScheduler")
        submissions = (Submission(events=(e,), program=p) for e, p in zip(plan.seeds, plan.programs, strict=True))
        await tree.start(plan.started, tuple(submissions))
        if resume:
            await scheduler.release("", "stopped", "the driver that held them ended")
            await tree.append(RunResumed(reason="resumed"))
        n_designers, n_verifiers = self.config.designers.n, self.config.verifiers.n
        await Driver(
            tree=tree, scheduler=scheduler, spawn_designer=self._designer, spawn_verifier=self._verifier,
            designers=[f"Designer-{i}" for i in range(n_designers)],
            verifiers=[f"Verifier-{i}" for i in range(n_verifiers)], slots=self.config.designers.slots,
        ).run()  # fmt: skip

    # --- processes -----------------------------------------------------------------------------------------

    def _service(self, name: str) -> Any:
        return ServiceHandle(Wire(self, lambda: self.services[name], is_service=True), name)

    def _begin_service(self, name: str) -> None:
        """Start the actor of that name anew, as Ray does after its death."""
        process = self.services[name] = Process(name)
        makers = {"EvolutionTree": self._tree, "BudgetScheduler": self._scheduler, "Treasurer": self._treasurer}
        process.make(makers[name])

    def _tree(self) -> EvolutionTree:
        settings = TreeSettings(
            run_folder=self.folder, selection=self.plan.selection, ahead=4,
            sessions=session_settings(self.config, self.folder, 257),
        )  # fmt: skip
        return EvolutionTree(settings, objects=ByValue())

    def _treasurer(self) -> Treasurer:
        agents = self.config.agents
        path, prices = self.folder / CALLS_FILE, PriceList.of(agents).to_json()
        return Treasurer(TreasurerSettings(path=path, agents=agents, prices=prices))

    def _scheduler(self) -> BudgetScheduler:
        settings = SchedulerSettings(scales=self.plan.ladder.scales, promotion=self.plan.promotion)
        return BudgetScheduler(self._service("EvolutionTree"), settings, clock=asyncio.get_running_loop().time)

    def _designer(self, name: str) -> Member:
        def make(process: Process) -> Designer:
            cage = SlowCage(self.rng, process, mean_s=2.0)
            tree, scales = self._service("EvolutionTree"), self.plan.ladder.scales
            return Designer(name, tree, scales, 257, cage=cage, objects=ByValue(), tools=self._tools())

        return self._member(name, make)

    def _tools(self) -> SessionTools | None:
        agents = self.config.agents
        if not agents.models:
            return None
        prices = PriceList.of(agents).to_json()
        return SessionTools(agents=agents, prices=prices, treasury=self._service("Treasurer"), client=self.client)

    def _verifier(self, name: str) -> Member:
        settings = VerifierSettings(run_folder=self.folder, cache_folder=self.folder / "cache", probes=False)

        def make(process: Process) -> Verifier:
            cage, tree = SlowCage(self.rng, process, mean_s=4.0), self._service("EvolutionTree")
            data = Data(hash="null", files={})
            return Verifier(name, tree, settings, data, cage=cage, scorer=NullScorer(), objects=ByValue())

        return self._member(name, make)

    def _member(self, name: str, make: Callable[[Process], Any]) -> Member:
        process = self.members[name] = Process(name)
        process.make(lambda: make(process))
        return Member(name, process, MemberHandle(Wire(self, lambda: process, is_service=False)), self)

    def _end_actors(self) -> None:
        """Actors end with their driver, except those that it cannot reach."""
        for process in (*self.services.values(), *self.members.values()):
            if process.name == "EvolutionTree":
                self.note_journal()
            if process not in self.cut_off:
                process.kill()
        self.members.clear()

    # --- what goes wrong -----------------------------------------------------------------------------------

    async def travel(self) -> None:
        late = self.rng.random() < self.faults.late
        await asyncio.sleep(self.rng.uniform(1, 20) if late else self.rng.uniform(0.0005, 0.01))

    def _write(self, work: Callable[[], Any]) -> asyncio.Future[Any]:
        """A thread's work takes a moment; a process that dies in it may have done it, or not."""
        loop, process = asyncio.get_running_loop(), _current.get()
        answer: asyncio.Future[Any] = loop.create_future()
        if process is self.services.get("EvolutionTree") and self.rng.random() < self.faults.in_a_write:
            killed = self.rng.random() < 0.7
            loop.call_later(0.002, lambda: self._replace("EvolutionTree", killed=killed))
        if self.rng.random() < 0.5:
            done = settled(loop.create_future(), work)
            loop.call_later(0.004, lambda: answer.done() or settled(answer, done.result))
        else:
            loop.call_later(
                0.004, lambda: answer.done() or (process is not None and process.is_dead) or settled(answer, work)
            )
        return answer

    async def _strike(self) -> None:
        for _ in range(self.faults.n_blows):
            await asyncio.sleep(self.rng.expovariate(1 / self.faults.every_s))
            blow = self.rng.choice(
                (self._kill_service, self._kill_member, self._stop_member, self._cut_off_member, self._cut_off_tree,
                 self._kill_driver)
            )  # fmt: skip
            blow()

    def _kill_service(self) -> None:
        self._replace(self.rng.choice(sorted(self.services)), killed=True)

    def _cut_off_tree(self) -> None:
        """It is replaced, and goes on with what it has in hand: the journal must refuse it."""
        self._replace("EvolutionTree", killed=False)

    def _replace(self, name: str, *, killed: bool) -> None:
        process = self.services.get(name)
        if process is None or process.is_dead or process.target is None:
            return
        self.blows.append(f"{'kill' if killed else 'replace'} {name}")
        self.note_journal()
        if killed:
            process.kill()
        else:
            self.cut_off.add(process)
        gone = Process(name)
        gone.kill()
        self.services[name] = gone
        asyncio.get_running_loop().call_later(self.rng.uniform(0.5, 3), self._restart, name, gone)

    def _restart(self, name: str, gone: Process) -> None:
        if self.services[name] is gone and self.driver is not None and not self.driver.is_dead:
            self._begin_service(name)

    def _some_member(self) -> Process | None:
        alive = [p for _, p in sorted(self.members.items()) if not p.is_dead and not self._would_poison(p)]
        return self.rng.choice(alive) if alive else None

    def _would_poison(self, process: Process) -> bool:
        tree = RunStore(self.folder).exists and open_tree(
            RunStore(self.folder).journal(mode="reader"), resolve_fitness()
        )
        held = [lease.key for lease in tree.leases.values() if lease.holder == process.name] if tree else []
        return not self.faults.may_poison and any(tree.n_deaths(key) >= POISON_AFTER - 1 for key in held)

    def _kill_member(self) -> None:
        if (process := self._some_member()) is not None:
            self.blows.append(f"kill {process.name}")
            process.kill()

    def _stop_member(self) -> None:
        if (process := self._some_member()) is not None:
            seconds = self.rng.choice((10.0, 100.0, 200.0))
            self.blows.append(f"stop {process.name} for {seconds:g} s")
            process.stop(seconds)

    def _cut_off_member(self) -> None:
        """It hears nobody and nobody hears from it what was asked; what it sends itself arrives."""
        if (process := self._some_member()) is not None:
            self.blows.append(f"cut off {process.name}")
            self.cut_off.add(process)

    def _kill_driver(self) -> None:
        if self.driver is not None and not self.driver.is_dead:
            self.blows.append("kill the driver")
            self.driver.kill()

    def note_acknowledged(self, calls: tuple[Any, ...], answers: list[Answer]) -> None:
        for (method, arguments), (succeeded, answer) in zip(calls[0], answers, strict=True):
            if succeeded and method == "append" and answer.accepted:
                self.acknowledged.append(arguments[0])
            elif succeeded and method == "settle" and answer.accepted:
                self.acknowledged.append(arguments[0].event)
            elif succeeded and method == "submit" and answer:
                self.acknowledged.extend(arguments[0].events)

    def note_journal(self) -> None:
        """Remember the journal as it stands."""
        if RunStore(self.folder).exists:
            with closing(RunStore(self.folder).journal(mode="reader")) as journal:
                self.prefixes.append(list(journal.read()))


def _end_tasks(loop: asyncio.AbstractEventLoop) -> None:
    """Let all that waits still clean up after itself, which may take further calls that are ended in their turn."""
    while tasks := asyncio.all_tasks(loop):
        for task in tasks:
            task.cancel()
        loop.run_until_complete(asyncio.wait(tasks, timeout=1.0))


def _in_its_process(loop: asyncio.AbstractEventLoop, work: Any, **options: Any) -> asyncio.Task[Any]:
    task: asyncio.Task[Any] = asyncio.Task(work, loop=loop, **options)
    process = _current.get()
    if process is not None:
        process.tasks[task] = None
        task.add_done_callback(lambda done: process.tasks.pop(done, None))
    return task
