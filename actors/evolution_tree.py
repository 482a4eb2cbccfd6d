"""Keeps the books of a run: the one writer of its journal."""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from dataclasses import dataclass, field, replace
from pathlib import Path
from random import Random

import ray

from actors.batching import Batched
from actors.claims import Claims
from actors.handles import Objects, RayObjects
from actors.messages import (
    Appended,
    CheckTask,
    DesignerTask,
    DesignSession,
    Done,
    Outcome,
    Parent,
    ProposeTask,
    Ref,
    Submission,
    Wait,
)
from actors.session_desk import Kind, SessionDesk, SessionSettings
from actors.tree_metrics import TreeMetrics
from genesys.errors import GenesysError, TransientError
from genesys.evolution import BookkeepingError, DesignState, DesignView
from genesys.evolution.events import (
    DesignImplemented,
    DesignProposed,
    Event,
    ProposalFailed,
    RunResumed,
    RunStarted,
    SessionStarted,
    VerificationFailed,
    VerificationRecorded,
    failed_in_a_row,
    n_failed_in_a_row,
)
from genesys.evolution.fitness import resolve_fitness
from genesys.evolution.operators import Focus, adaptive_focus, known_twin, with_adaptive_rates
from genesys.evolution.selection import Selection, SelectionStrategy, select_safely
from genesys.evolution.sessions import encode_task
from genesys.evolution.status import RunStatus, run_status
from genesys.evolution.tree import POISON_AFTER
from genesys.llm.calls import StaleError
from genesys.storage import RunStore, content_hash, open_tree

log = logging.getLogger(__name__)

NEWS_PER_CALL = 50
PROGRAMS_CACHED = 256
SNAPSHOT_EVERY = 5000  # events at least; then ever rarer
SELECTION_TIMEOUT_S = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class TreeSettings:
    """What the keeper of the books is told at construction.

    Attributes:
        ahead, max_failed_proposals, adaptive: See `genesys.config.DesignersConfig`.
        seed: Of the selections.
        focus: What rules prefer, where they do not adapt.
        sessions: Of language models; none by default.
    """

    run_folder: Path
    selection: SelectionStrategy
    seed: int = 0
    ahead: int = 3
    max_failed_proposals: int = 200
    adaptive: bool = False
    focus: Focus = field(default_factory=Focus)
    fitness: str = "relative"
    sessions: SessionSettings = field(default_factory=SessionSettings)


class EvolutionTree(Batched):
    """The tree of designs behind an actor's mailbox.

    Guarantees: an event is in the journal before anybody hears of it. After a restart it replays the journal and
    fences its former self.
    """

    def __init__(self, settings: TreeSettings, *, objects: Objects | None = None) -> None:
        self._settings = settings
        self._objects = objects or RayObjects()
        store = RunStore(settings.run_folder)
        self._journal = store.journal(any_thread=True)
        self._tree = open_tree(self._journal, resolve_fitness(settings.fitness))
        self._selection = with_adaptive_rates(settings.selection) if settings.adaptive else settings.selection
        self._rng = Random(f"{settings.seed}/{self._journal.last_seq}")
        self._recent: list[Event] = [entry.event for entry in self._journal.read()]
        self._next_snapshot = len(self._recent) + SNAPSHOT_EVERY
        self._programs: OrderedDict[str, Ref] = OrderedDict()
        self._unwritten: list[Event] = []  # applied, not yet in the journal; nobody is told of them before they are
        self._unwritten_blobs: list[bytes] = []
        self._writing = asyncio.Lock()
        self._failure: GenesysError | None = None
        self._claims = Claims(self._tree)
        self._in_hand: set[str] = set()  # designers with a proposal in the making
        self._desk = SessionDesk(settings.sessions, self._tree)
        self._failed_in_a_row = n_failed_in_a_row(self._recent, settings.max_failed_proposals)
        self._metrics = TreeMetrics()

    def __repr__(self) -> str:
        return "EvolutionTree"

    # --- the books -----------------------------------------------------------------------------------------

    async def append(self, event: Event) -> Appended:
        """Take in one event, if the books allow it; repeating a settled one is accepted and changes nothing."""
        accepted, reason = await self._record((event,))
        if accepted and isinstance(event, RunResumed):
            self._failed_in_a_row = 0
        return Appended(accepted=accepted, reason=reason)

    async def settle(self, outcome: Outcome) -> Appended:
        """Take in how a lease ended, with its report."""
        blobs = (await self._objects.get(outcome.report),) if outcome.report is not None else ()
        accepted, reason = await self._record((outcome.event,), blobs)
        return Appended(accepted=accepted, reason=reason)

    async def news(self, since: int) -> tuple[Event, ...]:
        """The events after the first `since`, at most 50 at a time."""
        self._require_journal()
        return tuple(self._recent[since : since + NEWS_PER_CALL])

    async def status(self) -> RunStatus:
        """Where the run stands; also refreshes the dashboard's metrics."""
        self._require_journal()
        status = run_status(self._tree)
        self._metrics.show(status)
        return status

    async def start(self, started: RunStarted, seeds: tuple[Submission, ...]) -> int:
        """Open the run's books with its seeds, unless they are open; gives the number of events."""
        if self._tree.run is None:
            await self._record((started,))
        for seed in seeds:
            (proposed,) = seed.events
            assert not isinstance(proposed, RunStarted) and seed.program is not None
            await self.submit(seed)
        return self._tree.n_events

    # --- designers -----------------------------------------------------------------------------------------

    async def next_task(self, designer: str) -> DesignerTask:
        """What a designer should do next. Whoever is told that all is done is told so for good, until the run is resumed."""
        self._require_journal()
        self._forget(designer)  # who asks has nothing in hand; if it was given something, the answer was lost
        tree = self._tree
        if tree.finished or tree.draining:
            return Done(reason=tree.finished or tree.draining)
        unchecked = next((d for d in tree.in_state(DesignState.PROPOSED) if d not in self._claims), None)
        if unchecked is not None:
            self._claims.take(unchecked, designer)
            return CheckTask(design=unchecked, name=tree.record(unchecked).name, program=await self.program(unchecked))
        limit, left_behind = self._limit(), self._desk.left_behind(designer)
        if left_behind is not None and not isinstance(limit, Done):
            is_poison = self._desk.is_poison(left_behind.session)
            self._take(left_behind.session, designer)
            session = await self._session(left_behind, designer)
            poison = f"its designers died {POISON_AFTER} times before it ended"
            return replace(session, poison=poison) if is_poison else session
        if limit is not None:
            return limit
        if self._desk.is_lessons_due:
            return await self._start_session("llm", None, designer)
        kind, refined = self._desk.draw(self._rng)
        if kind == "none":
            return Done(reason=f"only language models design here, and their money is spent: {tree.out_of_money}")
        self._in_hand.add(designer)
        if refined:
            reason = f"hybrid: varying design {refined[:12]} of a language model by rules"
            return await self._propose_task(Selection(operator="mutation", parents=(refined,), reason=reason), designer)
        selection = await self._select()
        if kind != "rules":
            return await self._start_session(kind, selection, designer)
        return await self._propose_task(selection, designer)

    def _limit(self) -> Wait | Done | None:
        """Why no new design should be proposed now, if that is so."""
        tree = self._tree
        bottom = tree.scales[0]
        sane = sum(
            len(tree.in_state(s))
            for s in DesignState
            if s not in (DesignState.PROPOSED, DesignState.REJECTED, DesignState.TWIN)
        )
        coming = len(self._in_hand.union(self._claims.holders).difference(tree.open_sessions))
        if sane >= tree.ledger.account(bottom).quota:
            return Done(reason=f"the quota at {bottom} has all its designs")
        if self._failed_in_a_row >= self._settings.max_failed_proposals:
            return Done(reason=f"{self._failed_in_a_row} proposals in a row gave nothing new")
        if sane + coming >= tree.ledger.account(bottom).quota:
            return Wait(reason="the last designs are in the making")
        if len(tree.waiting(bottom)) + coming >= self._settings.ahead:
            return Wait(reason="enough designs wait for a verifier", seconds=0.2)
        return None

    async def _select(self) -> Selection:
        population = self._tree.population()
        selection, failure = select_safely(self._selection, population, self._rng, timeout_s=SELECTION_TIMEOUT_S)
        if failure is not None:
            log.warning("selection strategy failed: %s", failure.reason)
            await self._record((failure,))
        return selection

    async def _start_session(self, pool: Kind, selection: Selection | None, designer: str) -> DesignSession:
        """Write a new session into the books with all that decides it, so that whoever takes it up does the same."""
        task = self._desk.new_task(selection, self._rng.getrandbits(62))
        blob = encode_task(task)
        started = SessionStarted(
            session=task.session, designer=designer, pool=pool, operator=task.operator, parents=task.parents,
            task=content_hash(blob),
        )  # fmt: skip
        self._take(task.session, designer)  # before it is written: others ask meanwhile
        accepted, reason = await self._record((started,), (blob,))
        assert accepted, reason
        return await self._session(started, designer, blob)

    def _take(self, session: str, designer: str) -> None:
        self._in_hand.add(designer)
        self._desk.take(session, designer)

    async def _session(self, started: SessionStarted, designer: str, blob: bytes = b"") -> DesignSession:
        return DesignSession(
            designer=designer,
            session=started.session,
            task=self._objects.put(blob or await self._blob(started.task)),
            parents=tuple([await self.program(parent) for parent in started.parents]),
        )

    async def _propose_task(self, selection: Selection, designer: str) -> ProposeTask:
        population = self._tree.population()
        views = [population.get(parent) for parent in selection.parents]
        focus = adaptive_focus(population) if self._settings.adaptive else self._settings.focus
        await self._durable()  # what the choice rests on
        return ProposeTask(
            designer=designer,
            operator=selection.operator,
            parents=tuple([await self._parent(view) for view in views]),
            references=selection.references,
            reason=selection.reason,
            seed=self._rng.getrandbits(62),
            odds={str(operator): odds for operator, odds in selection.odds.items()},
            focus=focus,
        )

    async def _parent(self, view: DesignView) -> Parent:
        return Parent(
            design=view.id,
            name=view.name,
            program=await self.program(view.id),
            fitness={scale: fitness.value for scale, fitness in view.fitness.items()},
            metrics={r.scale: r.metrics for r in reversed(self._tree.record(view.id).runs) if r.outcome == "committed"},
        )

    async def claim(self, design: str, normal_form: str, designer: str) -> str:
        """Give a design that is new to the run to a designer, or a session, alone; see `Claims.claim`.

        Raises:
            StaleError: The session has ended: nobody would ever free what it claimed, and the run would wait for it.
        """
        if self._tree.has_ended(designer):
            raise StaleError(f"Cannot claim a design for {designer!r}: another designer ended it meanwhile.")
        return self._claims.claim(design, normal_form, designer)

    async def submit(self, submission: Submission) -> bool:
        """Take in a designer's outcome with the new program, if any; False when the books refuse it."""
        first = submission.events[0]
        refs = [ref for ref in (submission.program, submission.account) if ref is not None]
        blobs = tuple([await self._objects.get(ref) for ref in refs])
        events = tuple(
            known_twin(self._tree, event) if isinstance(event, DesignImplemented) else event
            for event in submission.events
        )
        accepted, reason = await self._record(events, blobs)
        holder = self._holder(first, accepted)
        if not accepted:
            log.info("a submission was refused: %s", reason)
        else:
            if isinstance(first, DesignProposed):
                self._claims.proposed(first.design, first.normal_form)
            limit = self._settings.max_failed_proposals
            self._failed_in_a_row = failed_in_a_row(self._failed_in_a_row, events[-1], limit)
            self._forget(getattr(first, "session", ""))
        self._forget(holder)
        return accepted

    def _holder(self, event: Event, accepted: bool) -> str:
        """Whose work is done with a submission that begins so; who is refused the end of a session has more to say of it."""
        if session := getattr(event, "session", ""):
            return self._desk.holder(session) if accepted else ""
        if isinstance(event, ProposalFailed):
            return event.designer
        return self._claims.holder(getattr(event, "design", ""))

    async def release(self, designer: str) -> None:
        """Free what a designer that died had claimed, in any of its slots."""
        holders = {*self._in_hand, *self._claims.holders, *self._desk.holders}
        for name in [name for name in holders if name == designer or name.startswith(f"{designer}.")]:
            self._forget(name)

    def _forget(self, designer: str) -> None:
        self._in_hand.discard(designer)
        self._desk.forget(designer)
        self._claims.forget(designer)

    async def program(self, design: str) -> Ref:
        """A design's program by reference."""
        if design not in self._programs:
            self._programs[design] = self._objects.put(await self._blob(self._tree.record(design).program))
        self._programs.move_to_end(design)
        if len(self._programs) > PROGRAMS_CACHED:
            self._programs.popitem(last=False)
        return self._programs[design]

    async def _blob(self, name: str) -> bytes:
        async with self._writing:  # the journal serves one thread at a time
            return self._journal.blob(name)

    # --- the journal ---------------------------------------------------------------------------------------

    async def _record(self, events: tuple[Event, ...], blobs: tuple[bytes, ...] = ()) -> tuple[bool, str]:
        """Check and apply events, and return once they and their blobs are on the disk.

        A refusal leaves the events before it standing.
        """
        if any(self._is_settled(event) for event in events):
            await self._durable()
            return True, "settled before"
        refusal = ""
        for event in events:
            try:
                self._tree.apply(event)
            except BookkeepingError as error:
                refusal = str(error)
                break
            self._unwritten.append(event)
            self._unwritten_blobs.extend(blobs)
            blobs = ()
        await self._durable()
        return not refusal, refusal

    async def _durable(self) -> None:
        """Wait until all that was applied so far is on the disk. Callers that wait together share one write.

        Raises:
            FencedError: Another tree took the journal over; this one is of no more use, whoever calls it.
        """
        target = self._tree.n_events
        while len(self._recent) < target:
            async with self._writing:
                self._require_journal()
                if len(self._recent) >= target:
                    return  # an earlier caller's write took it along; the next one waits for a fuller batch
                batch, blobs = tuple(self._unwritten), tuple(self._unwritten_blobs)
                try:
                    await asyncio.to_thread(self._journal.append, batch, expected_seq=len(self._recent), blobs=blobs)
                except Exception as error:  # fenced, or the disk is full: memory and journal have parted
                    self._failure = error if isinstance(error, GenesysError) else TransientError(str(error))
                    raise self._failure from error
                del self._unwritten[: len(batch)], self._unwritten_blobs[: len(blobs)]
                self._recent.extend(batch)
                n = len(self._recent)
                if n >= self._next_snapshot and not self._unwritten:
                    self._next_snapshot = n + max(SNAPSHOT_EVERY, n // 2)  # each costs what the whole run holds
                    self._save_snapshot(n)

    def _require_journal(self) -> None:
        """Raise what parted memory and journal, if they have: whoever only waits must hear of it, too."""
        if self._failure is not None:
            raise self._failure

    def _save_snapshot(self, n_events: int) -> None:
        """Spare a restart the replay. The events suffice, so that a failure (no room, too large) ends nothing."""
        try:
            self._journal.save_snapshot(n_events, self._tree.to_snapshot())
        except Exception as error:
            log.warning("no snapshot at event %d: %s", n_events, error)

    def _is_settled(self, event: Event) -> bool:
        """Whether this outcome stands in the books, because an answer to it was lost and it came again."""
        if not isinstance(event, VerificationRecorded | VerificationFailed) or event.lease in self._tree.leases:
            return False
        outcome = "committed" if isinstance(event, VerificationRecorded) else "failed"
        return any(run.lease == event.lease and run.outcome == outcome for run in self._tree.record(event.design).runs)


EvolutionTreeActor = ray.remote(EvolutionTree)
