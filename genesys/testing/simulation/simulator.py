"""The whole evolution under a virtual clock, with faults from a seed: what cannot be proved about crashes is tried here.

Real: the reducer, the ladder's accounts, caps, `decide`, every strategy, how a tree is opened from a journal. Simulated,
step by step after the actors: who sends what to whom and waits for what. Stubs: what designers and verifiers do.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Any

from genesys.errors import FencedError, TransientError
from genesys.evolution.events import Event
from genesys.storage import Entry
from genesys.testing.simulation.audit import AuditError, Auditor, audit_end
from genesys.testing.simulation.clock import Clock
from genesys.testing.simulation.disk import Disk
from genesys.testing.simulation.network import Network
from genesys.testing.simulation.schedule import Fault, Schedule
from genesys.testing.simulation.session import Member, Session, Stage
from genesys.testing.simulation.world import World

MAX_STEPS = 400_000
MAX_SESSIONS = 100
RESUME_AFTER_S = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How a simulation went.

    Attributes:
        commits: Metrics by (design, scale, training seed).
        faults: What was done to it, and when.
        seconds: Virtual seconds from start to end.
        n_torn: Half-written records that a writer found and cut off.
        n_poisoned: Runs that were given up because their holders kept dying.
        reason: Why the run ended.
    """

    commits: dict[tuple[str, str, int], tuple[tuple[str, float], ...]]
    entries: tuple[Entry, ...]
    faults: tuple[tuple[float, str], ...]
    seconds: float
    n_steps: int
    n_sessions: int
    n_torn: int
    n_poisoned: int
    reason: str


def simulate(schedule: Schedule, *, kill_at: int = 0) -> Outcome:
    """Live through a schedule, and audit it.

    Args:
        kill_at: Everything dies right after this many events are durable, once; 0 for never.

    Raises:
        AuditError: A law was broken, or the run does not end.
    """
    return _Simulation(schedule, kill_at).run()


class _Simulation:
    def __init__(self, schedule: Schedule, kill_at: int) -> None:
        self.schedule = schedule
        self.rng = Random(f"simulation/{schedule.seed}")
        self.clock = Clock()
        self.auditor = Auditor()
        self.disk = Disk(self._durable)
        self.network = Network(self.clock, self.rng, schedule.latency_s)
        self.stage = Stage(
            clock=self.clock, network=self.network, disk=self.disk, world=World(schedule), schedule=schedule, rng=self.rng,
            on_told=self.auditor.told, keeper=lambda: self.session.keeper,
        )  # fmt: skip
        self.n_sessions = 0
        self.faults: list[tuple[float, str]] = []
        self._kill_at = kill_at
        self._next_fault = self._steps_to_fault()
        self._resume_at: float | None = None
        self._is_draining = False
        self.session = self._new_session()

    def _durable(self, event: Event) -> None:
        self.auditor.saw(event)
        if self.auditor.n_seen == self._kill_at:
            self.clock.first(self._power_fails)

    def run(self) -> Outcome:
        while not self._is_over():
            if not self.clock.step():
                raise AuditError(f"nothing moves any more at {self.clock.now:.0f} s; {self._say()}")
            if self.clock.n_steps > MAX_STEPS:
                raise AuditError(f"the run does not end; {self._say()}")
            if self.clock.n_steps >= self._next_fault:
                self._something_fails()
        seconds = self.clock.now
        tree = self.session.keeper.body.tree
        while self.clock.step():  # what woke up late may still try its luck
            if self.clock.n_steps > 2 * MAX_STEPS:
                raise AuditError(f"strays do not end; {self._say()}")
        audit_end(self.disk, self.auditor, self.schedule, live_digest=tree.digest())
        return Outcome(
            commits=self.auditor.commits, entries=tuple(self.disk.entries), faults=tuple(self.faults), seconds=seconds,
            n_steps=self.clock.n_steps, n_sessions=self.n_sessions, n_torn=self.disk.n_torn,
            n_poisoned=len(self.auditor.poisoned), reason=self.auditor.finished,
        )  # fmt: skip

    def _say(self) -> str:
        return f"{self.auditor.n_seen} events, leases {self.auditor.leases}, faults {self.faults}"

    # --- sessions ------------------------------------------------------------------------------------------

    def _new_session(self) -> Session:
        self.n_sessions += 1
        if self.n_sessions > MAX_SESSIONS:
            raise AuditError(f"the run is resumed for ever; {self._say()}")
        session = Session(self.stage, self.n_sessions, resume=self.n_sessions > 1)
        session.outcome.when_settled(lambda: self._ended(session))
        return session

    def _ended(self, session: Session) -> None:
        if session.is_over:
            return
        error = session.outcome.error
        if error is None and session is self.session and not self._is_draining:
            session.is_over = True  # its tree stays for those that wake up late
            for process in (session.driver, session.granter):
                process.kill()
            return
        if error is not None and not isinstance(error, (TransientError, FencedError)):
            raise AuditError(f"the driver failed: {type(error).__name__}: {error}") from error
        self._end(session)

    def _end(self, session: Session, *, with_all: bool = False) -> None:
        """End a session; if it was the latest one, somebody resumes the run after a while."""
        session.end(with_all=with_all)
        if session is self.session:
            self.clock.after(RESUME_AFTER_S, lambda: self._resume(session))

    def _resume(self, ended: Session) -> None:
        if self.session is ended:
            self._is_draining = False
            self.session = self._new_session()

    def _is_over(self) -> bool:
        return self.session.is_over and self.session.keeper.is_alive

    # --- faults --------------------------------------------------------------------------------------------

    def _steps_to_fault(self) -> int:
        return self.clock.n_steps + 1 + int(self.rng.expovariate(1 / self.schedule.fault_gap))

    def _something_fails(self) -> None:
        self._next_fault = self._steps_to_fault()
        if not self.schedule.faults or len(self.faults) >= self.schedule.max_faults:
            return
        fault = self.rng.choice(self.schedule.faults)
        if not self.session.is_over:
            self.faults.append((self.clock.now, fault))
            self._do[fault](self)

    def _some_member(self, kind: str) -> Member | None:
        found = [m for m in self.session.members.values() if m.name.startswith(kind) and m.process.is_alive]
        return self.rng.choice(found) if found else None

    def _dies(self, kind: str) -> None:
        if (member := self._some_member(kind)) is not None:
            member.process.kill()

    def _seconds(self) -> float:
        """How long something is away: now and then for longer than anybody waits."""
        return self.rng.expovariate(
            1 / self.rng.choice((1.0, self.schedule.lease_ttl_s, 3 * self.schedule.lease_ttl_s))
        )

    def _power_fails(self) -> None:
        self._end(self.session, with_all=True)

    def _member_sleeps(self) -> None:
        if (member := self._some_member("")) is not None:
            member.process.frozen_until = self.clock.now + self._seconds()
            self.session.watch(member)

    def _service_sleeps(self) -> None:
        session = self.session
        process = self.rng.choice((session.keeper, session.granter, session.driver))
        process.frozen_until = max(process.frozen_until, self.clock.now + self._seconds())

    def _is_cut_off(self) -> None:
        session = self.session
        members = [m.process for m in session.members.values()]
        process = self.rng.choice((session.keeper, session.granter, session.driver, *members))
        process.cut_until = self.clock.now + self._seconds()
        for member in session.members.values():
            session.watch(member)

    def _answer_lost(self) -> None:
        self.network.n_to_lose += 1

    def _comes_twice(self) -> None:
        self.network.n_to_double += 1

    def _second_driver(self) -> None:
        self.session = self._new_session()

    def _asked_to_stop(self) -> None:
        self._is_draining = True
        self.session.drain()

    _do: dict[Fault, Callable[[Any], None]] = {  # noqa: RUF012  # a table
        "tree-dies": lambda self: self.session.lose_keeper(),
        "scheduler-dies": lambda self: self.session.lose_granter(),
        "driver-dies": lambda self: self._end(self.session),
        "designer-dies": lambda self: self._dies("Designer"),
        "verifier-dies": lambda self: self._dies("Verifier"),
        "power-fails": _power_fails,
        "member-sleeps": _member_sleeps,
        "service-sleeps": _service_sleeps,
        "is-cut-off": _is_cut_off,
        "answer-lost": _answer_lost,
        "comes-twice": _comes_twice,
        "second-driver": _second_driver,
        "asked-to-stop": _asked_to_stop,
    }


def trace(outcome: Outcome) -> list[str]:
    """The journal and the faults of a simulation in the order of their times, one line each."""
    lines = [(entry.time, f"{entry.seq:5d} {entry.event}") for entry in outcome.entries]
    lines += [(time, f"      *** {fault}") for time, fault in outcome.faults]
    return [f"{time:10.2f} {line}" for time, line in sorted(lines, key=lambda item: item[0])]


__all__ = ["Outcome", "simulate", "trace"]
