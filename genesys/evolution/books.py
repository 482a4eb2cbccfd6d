"""The state of an evolution's books: what it holds, how it is read, and how it is saved.

Only the reducer in `tree` changes it.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import Any, Self, cast

from genesys.evolution.design import BookkeepingError, DesignRecord, DesignState, Lease, Run
from genesys.evolution.events import (
    Event,
    LessonsWritten,
    ProposalFailed,
    RunStarted,
    SessionStarted,
    event_from_json,
    event_to_json,
)
from genesys.evolution.order import Entry
from genesys.evolution.ranking import Ranking, Ratings
from genesys.evolution.rating import FitnessRule
from genesys.evolution.snapshot import SNAPSHOT_VERSION, record_from_json, value_to_json
from genesys.ladder.budget import Budget, Caps, Cost
from genesys.ladder.ledger import Ledger, RunKey

_SESSIONS = ("open_sessions", "failed_sessions", "lessons")
CLIMBING = (DesignState.IMPLEMENTED, DesignState.VERIFIED)


class Books:
    """Records, leases, quotas and the orders that follow from them.

    Guarantees: equal states have equal snapshots and digests, whether they were lived, replayed or restored.

    Args:
        rule: Turns metrics into fitness; the same rule must replay the same journal.
    """

    def __init__(self, rule: FitnessRule) -> None:
        self.rule = rule
        self.run: RunStarted | None = None
        self.n_events = 0
        self.last_lease = 0
        self.draining = ""
        self.finished = ""
        self.counters: Counter[str] = Counter()
        self._records: dict[str, DesignRecord] = {}
        self._children: dict[str, list[str]] = {}
        self._by_state: dict[DesignState, dict[str, None]] = {state: {} for state in DesignState}
        self._leases: dict[int, Lease] = {}
        self._deaths: Counter[RunKey] = Counter()
        self._seeds: list[str] = []
        self._pending_seeds: dict[str, None] = {}
        self._commits: list[str] = []
        self.lessons_asked_at = 0
        self.out_of_money = ""
        self._open_sessions: dict[str, SessionStarted] = {}
        self._closed_sessions: set[str] = set()
        self._failed_sessions: list[ProposalFailed] = []
        self._lessons: list[LessonsWritten] = []
        self._authored: list[str] = []
        self._by_fingerprint: dict[str, str] = {}
        self._by_normal_form: dict[str, str] = {}
        self.budget = Budget()
        self.run_costs: Mapping[str, Cost] = {}
        self._is_replaying = False
        self._open((), (), "")

    def _start(self, run: RunStarted) -> None:
        try:
            costs = {scale: Cost.of(**cost) for scale, cost in run.config.get("run_costs", {}).items()}
            caps = Caps.from_json(run.config.get("caps", {}))
        except (TypeError, AttributeError) as error:
            raise BookkeepingError(f"Cannot read the caps or run costs of run {run.run!r}: {error}.") from error
        self.run, self.run_costs, self.budget = run, costs, Budget(caps)
        self._open(run.scales, run.quotas, run.reference)

    def _open(self, scales: tuple[str, ...], quotas: tuple[int, ...], reference: str) -> None:
        replicates = self.run.config.get("replicate_quotas", {}) if self.run else {}
        self.ledger = Ledger(dict(zip(scales, quotas, strict=True)), replicates)
        self.ratings = Ratings(self.rule, scales=scales, reference=reference, records=self._records)
        self._rungs = {scale: k for k, scale in enumerate(scales)}
        self._waiting = {scale: Ranking() for scale in scales}
        self._running: dict[str, dict[str, int]] = {scale: {} for scale in scales}

    def _change(self, record: DesignRecord, state: DesignState, **changes: Any) -> DesignRecord:
        """Put what changed about a design in its place; gives the new record."""
        if state is not record.state:
            del self._by_state[record.state][record.id]
            self._by_state[state][record.id] = None
        if self._is_replaying:  # nobody has seen the record yet: ten times as fast as a new one
            for name, value in changes.items():
                object.__setattr__(record, name, value)
            object.__setattr__(record, "state", state)
            return record
        changed = self._records[record.id] = replace(record, state=state, **changes)
        self.ratings.note(changed)
        return changed

    def _queue(self, design: str, k: int) -> None:
        if self._is_replaying:
            return
        if k < len(self.scales):
            self._waiting[self.scales[k]].put(design, self._turn(self._records[design], k))

    def _turn(self, record: DesignRecord, k: int) -> tuple[float, int]:
        """Its key in the order of those that wait for a rung."""
        merit = float(record.is_seed) if k == 0 else self.ratings.raw(record.id, self.scales[k - 1])
        return merit, -record.order

    def _hold(self, lease: Lease, design: str, scale: str) -> None:
        """Note a run that is handed out, for which there is room; one string for all that name the same saves memory."""
        self.budget.reserved = self.budget.reserved.plus(lease.cost)
        self._leases[lease.lease] = lease
        running = self._running[scale]
        running[design] = running.get(design, 0) + 1

    def _index(self, record: DesignRecord) -> None:
        """Let a sane design be found by what it is; of equal ones the first proposed."""
        for found, name in (
            (self._by_fingerprint, record.fingerprint), (self._by_normal_form, record.normal_form),
        ):  # fmt: skip
            if name and (name not in found or self._records[found[name]].order > record.order):
                found[name] = record.id

    # --- reading -------------------------------------------------------------------------------------------

    @property
    def scales(self) -> tuple[str, ...]:
        """Scale names, bottom first."""
        return self.ledger.scales

    @property
    def reference(self) -> str:
        """Id of the reference design; "" for none."""
        return self.run.reference if self.run else ""

    @property
    def leases(self) -> Mapping[int, Lease]:
        """Outstanding leases by number."""
        return MappingProxyType(self._leases)

    @property
    def records(self) -> Mapping[str, DesignRecord]:
        """Every design by id, in the order of proposals."""
        return MappingProxyType(self._records)

    @property
    def seeds(self) -> tuple[str, ...]:
        """Ids of the seeds, in the order of their proposals."""
        return tuple(self._seeds)

    @property
    def caps(self) -> Caps:
        """The caps that hold now."""
        return self.budget.caps

    @property
    def commits(self) -> Sequence[str]:
        """Ids in the order of their first-seed commits, once for each scale; it only grows."""
        return self._commits

    @property
    def open_sessions(self) -> Mapping[str, SessionStarted]:
        """Sessions of language models that have not ended, by id, the first started first."""
        return MappingProxyType(self._open_sessions)

    def has_ended(self, session: str) -> bool:
        """Whether there was a session of that id, and it is over."""
        return session in self._closed_sessions

    @property
    def failed_sessions(self) -> Sequence[ProposalFailed]:
        """How the sessions ended that gave no design, in their order; it only grows."""
        return self._failed_sessions

    @property
    def authored(self) -> Sequence[str]:
        """Ids of the designs by language models, in the order of their proposals; it only grows."""
        return self._authored

    @property
    def lessons(self) -> Sequence[LessonsWritten]:
        """The lessons of the run, the last of which count; it only grows."""
        return self._lessons

    @property
    def by_fingerprint(self) -> Mapping[str, str]:
        """The first proposed of the sane designs with a fingerprint; never a twin."""
        return MappingProxyType(self._by_fingerprint)

    @property
    def by_normal_form(self) -> Mapping[str, str]:
        """The first proposed of the sane designs with a normal form; never a twin."""
        return MappingProxyType(self._by_normal_form)

    @property
    def n_verified(self) -> int:
        """Designs with at least one committed verification."""
        return self.ratings.n_measured

    @property
    def n_pending_seeds(self) -> int:
        """Seeds proposed and not yet checked."""
        return len(self._pending_seeds)

    def record(self, design: str) -> DesignRecord:
        """One design.

        Raises:
            BookkeepingError: No such design.
        """
        record = self._records.get(design)
        if record is None:
            raise BookkeepingError(f"Cannot find design {design[:12]!r}: this run has none of that id.")
        return record

    def children(self, design: str) -> Sequence[str]:
        """Ids of its children in the order of their proposals; not a copy."""
        return self._children.get(design, ())

    def in_state(self, state: DesignState) -> Mapping[str, None]:
        """Ids in a state, in no order to rely on."""
        return MappingProxyType(self._by_state[state])

    def waiting(self, scale: str) -> Ranking:
        """Who may be leased at a scale next: at the bottom seeds, then by age; above by the rating one rung below."""
        return self._waiting[scale]

    def running(self, scale: str) -> Mapping[str, int]:
        """Ids with outstanding leases at a scale, and how many."""
        return MappingProxyType(self._running[scale])

    def n_deaths(self, key: RunKey) -> int:
        """How often a key's holder died by now; `attempt` of its next lease is one more."""
        return self._deaths[key]

    # --- snapshots -----------------------------------------------------------------------------------------

    def to_snapshot(self) -> dict[str, Any]:
        """The state as plain data, fit for JSON; equal states give equal snapshots."""
        return {
            "version": SNAPSHOT_VERSION,
            "run": _event_json(self.run) if self.run else None,
            "n_events": self.n_events,
            "last_lease": self.last_lease,
            "draining": self.draining,
            "finished": self.finished,
            "counters": dict(self.counters),
            "caps": self.caps.to_json(),
            "spent": list(self.budget.spent),
            "commits": [self._records[design].order for design in self._commits],
            "records": [value_to_json(record) for record in self._records.values()],
            "leases": [value_to_json(self._leases[number]) for number in sorted(self._leases)],
            "deaths": sorted([list(key), n] for key, n in self._deaths.items() if n),
        } | self._sessions_json()

    def _sessions_json(self) -> dict[str, Any]:
        """Sessions of language models; nothing where there was none."""
        found = {
            "open_sessions": [_event_json(event) for event in self._open_sessions.values()],
            "failed_sessions": [_event_json(event) for event in self._failed_sessions],
            "lessons": [_event_json(event) for event in self._lessons],
            "lessons_asked_at": self.lessons_asked_at,
            "out_of_money": self.out_of_money,
        }
        return {name: value for name, value in found.items() if value}

    @classmethod
    def from_snapshot(cls, data: Mapping[str, Any], rule: FitnessRule) -> Self:
        """Read what `to_snapshot` gave.

        Raises:
            BookkeepingError: A snapshot of another version; replay the whole journal instead.
        """
        if data.get("version") != SNAPSHOT_VERSION:
            raise BookkeepingError(
                f"Cannot read a snapshot of version {data.get('version')}; expected {SNAPSHOT_VERSION}."
            )
        tree = cls(rule)
        if data["run"] is not None:
            run = event_from_json(data["run"])
            assert isinstance(run, RunStarted)
            tree._start(run)
        tree.n_events, tree.last_lease = data["n_events"], data["last_lease"]
        tree.draining, tree.finished = data["draining"], data["finished"]
        tree.counters.update(data["counters"])
        tree.budget = Budget(Caps.from_json(data["caps"]), Cost(*data["spent"]))
        tree._deaths.update({RunKey(*key): n for key, n in data["deaths"]})
        records = [record_from_json(item) for item in data["records"]]
        tree._commits = [records[order].id for order in data["commits"]]
        tree._restore(records, [Lease(**item) for item in data["leases"]])
        tree._restore_sessions(data)
        return tree

    def _restore(self, records: Sequence[DesignRecord], leases: Sequence[Lease]) -> None:
        for record in records:
            self._records[record.id] = record
            self._by_state[record.state][record.id] = None
            for parent in dict.fromkeys(record.parents):
                self._children.setdefault(parent, []).append(record.id)
            if record.is_seed:
                self._seeds.append(record.id)
            if record.is_seed and record.state is DesignState.PROPOSED:
                self._pending_seeds[record.id] = None
            if record.state not in (DesignState.PROPOSED, DesignState.REJECTED, DesignState.TWIN):
                self._index(record)
            for run in record.runs:
                self._restore_run(record, run)
        for lease in leases:
            self.ledger.reserve(lease.key)
            self._hold(lease, lease.design, lease.scale)
        self._restore_orders()

    def _restore_sessions(self, data: Mapping[str, Any]) -> None:
        self.lessons_asked_at = data.get("lessons_asked_at", 0)
        self.out_of_money = data.get("out_of_money", "")
        events = {name: list(map(event_from_json, data.get(name, ()))) for name in _SESSIONS}
        started = cast(list[SessionStarted], events["open_sessions"])
        self._open_sessions = {event.session: event for event in started}
        self._failed_sessions = cast(list[ProposalFailed], events["failed_sessions"])
        self._lessons = cast(list[LessonsWritten], events["lessons"])
        self._authored = [record.id for record in self._records.values() if record.session]
        self._closed_sessions = {event.session for event in self._failed_sessions}
        self._closed_sessions |= {event.session for event in self._lessons}
        self._closed_sessions |= {self._records[design].session for design in self._authored}

    def _restore_run(self, record: DesignRecord, run: Run) -> None:
        key = RunKey(record.id, run.scale, run.seed, run.recipe)
        self.ledger.reserve(key)
        if run.outcome != "committed":
            self.ledger.fail(key)
            return
        self.ledger.commit(key)
        self.ratings.gather(record, run, is_checked=True)

    def _restore_orders(self) -> None:
        """Make all orders that follow from records and leases, at once."""
        self.ratings.restore()
        below: Iterable[str] = self._records
        for k, scale in enumerate(self.scales):
            held = self.ledger.runs(scale)
            waiting: dict[str, Entry] = {}
            for design in below:
                if design not in held and (record := self._records[design]).state in CLIMBING:
                    waiting[design] = *self._turn(record, k), design
            self._waiting[scale].fill(waiting)
            below = [design for design, outcome in held.items() if outcome == "committed"]

    def digest(self) -> str:
        """SHA-256 over the canonical snapshot: equal for equal states, in life and in replay."""
        text = json.dumps(self.to_snapshot(), sort_keys=True, separators=(",", ":"), allow_nan=False)
        return hashlib.sha256(text.encode()).hexdigest()

    def __iter__(self) -> Iterator[DesignRecord]:
        return iter(self._records.values())

    def __len__(self) -> int:
        return len(self._records)


def _event_json(event: Event) -> dict[str, Any]:
    """An event as part of a snapshot: the version is the snapshot's, so that equal states stay equal across releases."""
    return event_to_json(event) | {"version": SNAPSHOT_VERSION}
