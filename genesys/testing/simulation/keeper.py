"""The keeper of the books, simulated: `actors.evolution_tree` step by step, with the real reducer and the real selection."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from genesys.errors import GenesysError
from genesys.evolution import BookkeepingError, DesignState
from genesys.evolution.events import (
    Event,
    ProposalFailed,
    RunResumed,
    RunStarted,
    VerificationFailed,
    VerificationRecorded,
    failed_in_a_row,
    n_failed_in_a_row,
)
from genesys.evolution.fitness import RelativeFitness
from genesys.evolution.selection import resolve_selection, select_safely
from genesys.storage import open_tree
from genesys.testing.simulation.clock import Lock, Process
from genesys.testing.simulation.disk import Disk
from genesys.testing.simulation.messages import Appended, Check, Done, Propose, Submission, Wait
from genesys.testing.simulation.schedule import Schedule

NEWS_PER_CALL = 50


class Keeper:
    """One incarnation of the tree's actor.

    Args:
        on_told: Called with each event of which somebody is told that it stands.
        on_durable: Called after each write.
    """

    def __init__(
        self, process: Process, disk: Disk, schedule: Schedule, rng: Random, *, on_told: Callable[[Event], None],
        on_durable: Callable[[], None],
    ) -> None:  # fmt: skip
        self._process, self._schedule, self._chance = process, schedule, rng
        self._journal = disk.open(lambda: process.clock.now * process.rate)
        self.tree = open_tree(self._journal, RelativeFitness())
        self._selection = resolve_selection(schedule.selection)
        self._rng = Random(f"{schedule.seed}/{self._journal.last_seq}")
        self._recent = [entry.event for entry in self._journal.read()]
        self._unwritten: list[Event] = []
        self._unwritten_blobs: list[bytes] = []
        self._writing = Lock(process.clock)
        self._failure: GenesysError | None = None
        self._claims: dict[str, str] = {}
        self._in_hand: dict[str, None] = {}
        self._failed_in_a_row = n_failed_in_a_row(self._recent, schedule.max_failed)
        self._on_told, self._on_durable = on_told, on_durable

    # --- the books -----------------------------------------------------------------------------------------

    async def append(self, event: Event, blobs: tuple[bytes, ...] = ()) -> Appended:
        """Take in one event, if the books allow it; also how a verifier settles a lease, with its report."""
        accepted, reason = await self._record((event,), blobs)
        if accepted and isinstance(event, RunResumed):
            self._failed_in_a_row = 0
        return Appended(accepted, reason)

    async def news(self, since: int) -> tuple[Event, ...]:
        self._require_journal()
        return tuple(self._recent[since : since + NEWS_PER_CALL])

    async def start(self, started: RunStarted, given: tuple[Submission, ...]) -> None:
        if self.tree.run is None:
            await self._record((started,))
        for submission in given:
            await self.submit(submission)

    async def ended(self) -> str:
        """Why the run takes no new work; "" if it does."""
        return self.tree.finished or self.tree.draining

    # --- designers -----------------------------------------------------------------------------------------

    async def next_task(self, designer: str) -> Propose | Check | Wait | Done:
        self._require_journal()
        self._forget(designer)
        tree = self.tree
        if tree.finished or tree.draining:
            return Done(tree.finished or tree.draining)
        unchecked = next((d for d in tree.in_state(DesignState.PROPOSED) if d not in self._claims), None)
        if unchecked is not None:
            self._claims[unchecked] = designer
            return Check(unchecked, tree.record(unchecked).is_seed)
        limit = self._limit()
        if limit is not None:
            return limit
        self._in_hand[designer] = None
        selection, failure = select_safely(self._selection, tree.population(), self._rng)
        if failure is not None:
            await self._record((failure,))
        await self._durable()
        return Propose(selection.operator, selection.parents, self._rng.getrandbits(62))

    def _limit(self) -> Wait | Done | None:
        tree, bottom = self.tree, self.tree.scales[0]
        unsound = (DesignState.PROPOSED, DesignState.REJECTED, DesignState.TWIN)
        sane = sum(len(tree.in_state(s)) for s in DesignState if s not in unsound)
        coming = len({*self._in_hand, *self._claims.values()})
        quota = tree.ledger.account(bottom).quota
        if sane >= quota:
            return Done("the quota at the bottom has all its designs")
        if self._failed_in_a_row >= self._schedule.max_failed or self._schedule.is_closed:
            return Done("nothing new comes")
        if sane + coming >= quota:
            return Wait("the last designs are in the making")
        if len(tree.waiting(bottom)) + coming >= self._schedule.ahead:
            return Wait("enough designs wait for a verifier", 0.2)
        return None

    async def claim(self, design: str, designer: str) -> bool:
        if design in self.tree.records or self._claims.get(design, designer) != designer:
            return False
        self._claims[design] = designer
        return True

    async def submit(self, submission: Submission) -> bool:
        first = submission.events[0]
        accepted, _ = await self._record(submission.events, submission.blobs)
        if accepted:
            last, limit = submission.events[-1], self._schedule.max_failed
            self._failed_in_a_row = failed_in_a_row(self._failed_in_a_row, last, limit)
        if isinstance(first, ProposalFailed):
            self._forget(first.designer)
        else:
            self._forget(self._claims.get(getattr(first, "design", ""), ""))
        return accepted

    async def release(self, designer: str) -> None:
        self._forget(designer)

    def _forget(self, designer: str) -> None:
        self._in_hand.pop(designer, None)
        self._claims = {design: holder for design, holder in self._claims.items() if holder != designer}

    # --- the journal ---------------------------------------------------------------------------------------

    async def _record(self, events: tuple[Event, ...], blobs: tuple[bytes, ...] = ()) -> tuple[bool, str]:
        if any(self._is_settled(event) for event in events):
            await self._durable()
            for event in events:
                self._on_told(event)
            return True, "settled before"
        refusal = ""
        for event in events:
            try:
                self.tree.apply(event)
            except BookkeepingError as error:
                refusal = str(error)
                break
            self._unwritten.append(event)
            self._unwritten_blobs.extend(blobs)
            blobs = ()
        await self._durable()
        if not refusal:
            for event in events:
                self._on_told(event)
        return not refusal, refusal

    async def _durable(self) -> None:
        target = self.tree.n_events
        while len(self._recent) < target:
            async with self._writing:
                self._require_journal()
                if len(self._recent) >= target:
                    return
                batch, blobs = tuple(self._unwritten), tuple(self._unwritten_blobs)
                await self._write(batch, blobs)
                del self._unwritten[: len(batch)], self._unwritten_blobs[: len(blobs)]
                before = len(self._recent)
                self._recent.extend(batch)
                every = self._schedule.snapshot_every
                if every and len(self._recent) // every != before // every and not self._unwritten:
                    self._journal.save_snapshot(len(self._recent), self.tree.to_snapshot())
                self._on_durable()

    def _require_journal(self) -> None:
        if self._failure is not None:
            raise self._failure

    async def _write(self, batch: tuple[Event, ...], blobs: tuple[bytes, ...]) -> None:
        try:
            await self._process.sleep(self._chance.expovariate(1 / self._schedule.write_s))
        except GeneratorExit:  # killed in the midst of it
            self._journal.abandon(batch, blobs, n_kept=self._chance.randint(0, len(batch)))
            raise
        try:
            self._journal.append(batch, expected_seq=len(self._recent), blobs=blobs)
        except GenesysError as error:
            self._failure = error
            raise

    def _is_settled(self, event: Event) -> bool:
        if not isinstance(event, VerificationRecorded | VerificationFailed) or event.lease in self.tree.leases:
            return False
        outcome = "committed" if isinstance(event, VerificationRecorded) else "failed"
        return any(run.lease == event.lease and run.outcome == outcome for run in self.tree.record(event.design).runs)
