"""The evolution's books: a reducer over events, and nothing else.

`apply` is the only way in. It checks first and changes afterwards, so that a refused event leaves no trace, and
replaying a journal gives the state that wrote it (`digest`). Standard library only; knows no domain.
"""

from __future__ import annotations

import gc
from collections.abc import Iterable
from contextlib import suppress
from sys import intern

from genesys.evolution import events as ev
from genesys.evolution.books import CLIMBING, Books
from genesys.evolution.design import BookkeepingError, DesignRecord, DesignState, Lease, Run, RunOutcome
from genesys.evolution.frozen import maker
from genesys.evolution.population import Population
from genesys.ladder.budget import Caps, Cost
from genesys.ladder.ledger import FIRST_SEED, RunKey

POISON_AFTER = 3
"""Refunds of one key for infrastructure's sake after which its lease ends as `poison` and its quota stays spent."""

ORDERLY_CAUSES = frozenset({"cancelled", "drained", "stopped"})
"""Causes of a refund that no machine is to blame for; they never lead to poison."""

_make_record, _make_run = maker(DesignRecord), maker(Run)


class EvolutionTree(Books):
    """All designs, leases and quotas of one run.

    Guarantees: at most one commit a key, no quota overrun, lease numbers that only rise, no rung skipped. An event
    costs hardly more among a million designs than among a thousand, except those that move a scale's axis, see `Ratings`.
    Not safe for threads.
    """

    def apply(self, event: ev.Event) -> None:
        """Take in one event.

        Raises:
            BookkeepingError: It would break a law; the tree is as before.
        """
        if self.run is None and not isinstance(event, ev.RunStarted):
            raise BookkeepingError(
                f"Cannot apply {event.kind!r}: the run has not started; expected 'run_started' first."
            )
        match event:
            case ev.LeaseGranted():  # the frequent ones first
                self._lease_granted(event)
            case ev.VerificationRecorded():
                self._verification_recorded(event)
            case ev.DesignProposed():
                self._design_proposed(event)
            case ev.DesignImplemented():
                self._design_implemented(event)
            case ev.RunStarted():
                self._run_started(event)
            case ev.DesignTwinned():
                self._design_twinned(event)
            case ev.DesignRejected():
                record = self._in_check(event.design)
                self._pending_seeds.pop(record.id, None)
                self._change(record, DesignState.REJECTED, findings=event.findings, checker=event.checker)
                self._requeue_all(record.id)
            case ev.LeaseRefunded():
                self._lease_refunded(event)
            case ev.VerificationFailed():
                self._end(self._outstanding(event.lease, event), event, "failed")
            case ev.RunDraining():
                self.draining = event.reason or "draining"
            case ev.RunResumed():
                if event.caps:
                    self.budget.caps = Caps.from_json(event.caps)
                self.draining = self.finished = self.out_of_money = ""
            case ev.RunFinished():
                self.finished = event.reason or "finished"
            case ev.ProposalFailed():
                self._proposal_failed(event)
            case ev.SessionStarted():
                self._session_started(event)
            case ev.LessonsWritten():
                self._close_session(event.session)
                self._lessons.append(event)
            case ev.PolicyFailed():
                pass  # the counter below is all it changes
        self.counters[event.kind] += 1
        self.n_events += 1

    def replay(self, events: Iterable[ev.Event]) -> None:
        """Take in a journal's events one by one; in a tree that is empty the orders are made once, at the end.

        Raises:
            BookkeepingError: One would break a law; the tree is as those before it left it. Or a result can't be rated: then
                the tree is of no use.
        """
        self._is_replaying = self.run is None
        collects = gc.isenabled()
        gc.disable()  # all that is made here stays: a collection would look at millions of objects and free none
        try:
            for event in events:
                self.apply(event)
            self._end_replay()
        except BaseException:
            with suppress(BookkeepingError):  # the first trouble is the one to tell
                self._end_replay()
            raise
        finally:
            if collects:
                gc.enable()

    def _end_replay(self) -> None:
        was_deferred, self._is_replaying = self._is_replaying, False
        if was_deferred:
            self._restore_orders()

    def _run_started(self, event: ev.RunStarted) -> None:
        if self.run is not None:
            raise BookkeepingError(f"Cannot start run {event.run!r}: run {self.run.run!r} has started in this journal.")
        if (
            len(event.scales) != len(event.quotas)
            or len(set(event.scales)) != len(event.scales)
            or min(event.quotas, default=0) < 0
        ):
            raise BookkeepingError(
                f"Cannot start run {event.run!r}: scales {event.scales} with quotas {event.quotas}; expected different "
                f"names with one quota from 0 up for each."
            )
        self._start(event)

    def _design_proposed(self, event: ev.DesignProposed) -> None:
        if event.design in self._records:
            raise BookkeepingError(f"Cannot propose design {event.design[:12]!r}: it exists; expected a new id.")
        parents = tuple([self.record(parent).id for parent in event.parents])  # one string a design, a million designs
        if event.session:
            self._close_session(event.session)
            self._authored.append(event.design)
        record = _make_record(
            id=event.design, name=event.name, program=event.program, operator=intern(event.operator),
            order=len(self._records), parents=parents, references=event.references, designer=intern(event.designer),
            parts=tuple(map(intern, event.parts)), is_seed=event.is_seed, detail=event.detail, edit=intern(event.edit),
            target=intern(event.target), odds=event.odds, steps=event.steps, normal_form=event.normal_form,
            session=event.session, title=event.title, abstract=event.abstract, account=event.account,
            cost_usd=event.cost_usd, scores=event.scores, models=event.models,
        )  # fmt: skip
        for parent in dict.fromkeys(parents):
            self._children.setdefault(parent, []).append(record.id)
        if record.is_seed:
            self._seeds.append(record.id)
            self._pending_seeds[record.id] = None
        self._records[record.id] = record
        self._by_state[DesignState.PROPOSED][record.id] = None

    def _session_started(self, event: ev.SessionStarted) -> None:
        if event.session in self._open_sessions or event.session in self._closed_sessions:
            raise BookkeepingError(f"Cannot start session {event.session!r}: it was started before; expected a new id.")
        for parent in event.parents:
            self.record(parent)
        self._open_sessions[event.session] = event
        if event.operator == ev.LESSONS:
            self.lessons_asked_at = len(self._records)

    def _close_session(self, session: str) -> None:
        if session not in self._open_sessions:
            raise BookkeepingError(
                f"Cannot end session {session!r}: it is not open; it ended before or was never started."
            )
        del self._open_sessions[session]
        self._closed_sessions.add(session)

    def _proposal_failed(self, event: ev.ProposalFailed) -> None:
        if not event.session:
            return
        self._close_session(event.session)
        self._failed_sessions.append(event)
        if event.cause == "money":
            self.out_of_money = event.reason or "a cap is reached"

    def _design_implemented(self, event: ev.DesignImplemented) -> None:
        record = self._in_check(event.design)
        self._pending_seeds.pop(record.id, None)
        checked = self._change(
            record, DesignState.IMPLEMENTED, sizes=event.sizes, checker=intern(event.checker),
            fingerprint=event.fingerprint, steps={**record.steps, **event.steps},
        )  # fmt: skip
        self._index(checked)
        self._queue(event.design, 0)

    def _design_twinned(self, event: ev.DesignTwinned) -> None:
        record, original = self._in_check(event.design), self.record(event.inherited_from)
        if original.id == record.id or original.state in (DesignState.PROPOSED, DesignState.REJECTED, DesignState.TWIN):
            raise BookkeepingError(
                f"Cannot let design {record.id[:12]!r} inherit from {original.id[:12]!r}: that is {original.state}; "
                "expected another design that passed its check and is no twin."
            )
        self._pending_seeds.pop(record.id, None)
        self._change(
            record, DesignState.TWIN, sizes=event.sizes, checker=intern(event.checker), fingerprint=event.fingerprint,
            inherited_from=original.id, steps={**record.steps, **event.steps},
        )  # fmt: skip
        self._requeue_all(record.id)

    def _lease_granted(self, event: ev.LeaseGranted) -> None:
        record, cost = self.record(event.design), event.cost
        if event.lease <= self.last_lease:
            raise BookkeepingError(
                f"Cannot grant lease {event.lease}: numbers only rise; expected above {self.last_lease}."
            )
        if self.draining or self.finished:
            raise BookkeepingError(
                f"Cannot grant lease {event.lease}: the run takes no new work ({self.draining or self.finished})."
            )
        if record.state not in CLIMBING:
            raise BookkeepingError(
                f"Cannot grant lease {event.lease}: design {record.id[:12]!r} is {record.state}; "
                "expected implemented or verified."
            )
        k = self._rungs.get(event.scale)
        if k is None:
            self.ledger.account(event.scale)  # raises, naming the scales
        assert k is not None
        if k and not record.committed(self.scales[k - 1]):
            raise BookkeepingError(
                f"Cannot grant lease {event.lease}: design {record.id[:12]!r} is not verified at "
                f"{self.scales[k - 1]!r}; expected no rung skipped on the way to {event.scale!r}."
            )
        if event.seed != FIRST_SEED and self.ledger.runs(event.scale).get(record.id) != "committed":
            raise BookkeepingError(
                f"Cannot grant lease {event.lease}: design {record.id[:12]!r} is not verified at {event.scale!r}; expected "
                "its first run there before a replicate."
            )
        shortage = self.budget.shortage(cost)
        if shortage:
            raise BookkeepingError(
                f"Cannot grant lease {event.lease}: {shortage} leaves no room for a run at {event.scale!r}. Wait for a "
                "refund or raise the cap."
            )
        design, scale = record.id, self.scales[k]  # one string each, however many events name them
        self.ledger.reserve(RunKey(design, scale, event.seed, intern(event.recipe)))
        self._hold(event, design, scale)
        self.last_lease = event.lease
        if event.seed == FIRST_SEED:
            self._waiting[scale].discard(design)

    def _lease_refunded(self, event: ev.LeaseRefunded) -> None:
        lease = self._outstanding(event.lease)
        used = Cost.of(event.n_tokens, event.gpu_seconds, runs=0)
        self._deaths[lease.key] += event.cause not in ORDERLY_CAUSES
        if self._deaths[lease.key] >= POISON_AFTER:
            self._end(lease, event, "poison")
            self.counters["poison"] += 1
            return
        self.ledger.refund(lease.key)
        self._take_back(lease, used)
        if lease.seed == FIRST_SEED and self._records[lease.design].state in CLIMBING:
            self._queue(lease.design, self._rungs[lease.scale])

    def _verification_recorded(self, event: ev.VerificationRecorded) -> None:
        lease = self._outstanding(event.lease, event)
        if not self._is_replaying:  # then they are checked, some at a time, where they are rated
            self.ratings.check(event.lease, event.metrics)
        record = self._records[lease.design]
        run = _make_run(
            scale=intern(lease.scale), seed=lease.seed, recipe=intern(lease.recipe), outcome="committed", lease=lease.lease,
            metrics=event.metrics, report=event.report, seconds=event.seconds, n_tokens=event.n_tokens,
            gpu_seconds=event.gpu_seconds,
        )  # fmt: skip
        used = Cost.of(event.n_tokens, event.gpu_seconds)
        self.ledger.commit(lease.key)
        self._take_back(lease, used)
        if lease.seed == FIRST_SEED:
            self._commits.append(record.id)
        state = DesignState.VERIFIED if record.state in CLIMBING else record.state
        self._climb(self._change(record, state, runs=(*record.runs, run)), run)

    def _climb(self, record: DesignRecord, run: Run) -> None:
        if self._is_replaying:
            self.ratings.gather(record, run)
            return
        above = self._rungs[run.scale] + 1
        rerated = self.ratings.measured(record, run)
        if above == len(self.scales):
            return
        for design in rerated:
            if design in self._waiting[self.scales[above]]:
                self._queue(design, above)
        if run.seed == FIRST_SEED and record.state in CLIMBING:
            self._queue(record.id, above)

    def _end(self, lease: Lease, event: ev.VerificationFailed | ev.LeaseRefunded, outcome: RunOutcome) -> None:
        used = Cost.of(event.n_tokens, event.gpu_seconds)
        self.ledger.fail(lease.key)
        self._take_back(lease, used)
        run = _make_run(
            scale=intern(lease.scale), seed=lease.seed, recipe=intern(lease.recipe), outcome=outcome, lease=lease.lease,
            cause=event.cause, reason=event.reason, seconds=event.seconds, n_tokens=event.n_tokens,
            gpu_seconds=event.gpu_seconds,
        )  # fmt: skip
        record = self._records[lease.design]
        if lease.seed != FIRST_SEED:
            self._change(record, record.state, runs=(*record.runs, run))
            return
        for waiting in self._waiting.values():
            waiting.discard(record.id)
        state = DesignState.FAILED if outcome == "failed" else DesignState.POISON
        self._change(record, state, runs=(*record.runs, run))
        self._requeue_all(record.id)

    def _requeue_all(self, design: str) -> None:
        if self._is_replaying or design != self.reference:
            return
        for k in range(1, len(self.scales)):  # without its reference a scale is rated anew
            for waiting in tuple(self._waiting[self.scales[k]]):
                self._queue(waiting, k)

    def _take_back(self, lease: Lease, used: Cost) -> None:
        self.budget.settle(lease.cost, used)
        del self._leases[lease.lease]
        running = self._running[lease.scale]
        n_running = running[lease.design]
        if n_running > 1:
            running[lease.design] = n_running - 1
        else:
            del running[lease.design]

    def _in_check(self, design: str) -> DesignRecord:
        record = self.record(design)
        if record.state is not DesignState.PROPOSED:
            raise BookkeepingError(
                f"Cannot record a check of design {design[:12]!r}: it is {record.state}; expected proposed."
            )
        return record

    def _outstanding(self, number: int, event: ev.VerificationRecorded | ev.VerificationFailed | None = None) -> Lease:
        lease = self._leases.get(number)
        if lease is None:
            raise BookkeepingError(
                f"Cannot settle lease {number}: it is not outstanding; it was settled before or never granted."
            )
        if event is None:
            return lease
        settled = event.design, event.scale, event.seed, event.recipe
        if settled != (lease.design, lease.scale, lease.seed, lease.recipe):
            raise BookkeepingError(
                f"Cannot settle lease {number}: it is for {tuple(lease.key)}; expected the result of that, not of "
                f"{settled}."
            )
        return lease

    def population(self) -> Population:
        """A read-only view for strategies, valid until the next event."""
        return Population(self)
