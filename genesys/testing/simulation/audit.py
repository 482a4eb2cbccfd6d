"""What must hold of every run, checked from the journal alone: these accounts share no code with the books."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from random import Random

from genesys.evolution import DesignState, EvolutionTree
from genesys.evolution import events as ev
from genesys.evolution.fitness import RelativeFitness
from genesys.evolution.promotion import Finished, decide, resolve_promotion
from genesys.evolution.tree import ORDERLY_CAUSES, POISON_AFTER
from genesys.storage import Entry
from genesys.testing.simulation.disk import Disk, encoded
from genesys.testing.simulation.schedule import Schedule

Key = tuple[str, str, int]

_OF_DESIGNERS = ev.DesignProposed, ev.DesignImplemented, ev.DesignRejected, ev.DesignTwinned, ev.ProposalFailed


class AuditError(AssertionError):
    """A law was broken."""


class Auditor:
    """Watches a journal as it grows.

    Raises:
        AuditError: At the event that breaks a law: a second commit of a key, a quota or a cap overrun, a lease number that
            does not rise, a lease that ends twice or was never granted, work handed out after the end.
    """

    def __init__(self) -> None:
        self.n_seen = 0
        self.leases: dict[int, ev.LeaseGranted] = {}
        self.ended: dict[int, str] = {}
        self.commits: dict[Key, tuple[tuple[str, float], ...]] = {}
        self.used: Counter[tuple[str, bool]] = Counter()
        self.poisoned: set[Key] = set()
        self.finished = ""
        self._last_lease = 0
        self._deaths: Counter[Key] = Counter()
        self._failed: set[Key] = set()
        self._quotas: dict[tuple[str, bool], int] = {}
        self._caps: dict[str, float] = {}
        self._price = 0.0
        self._spent = dict.fromkeys(("runs", "tokens", "gpu_seconds"), 0.0)
        self._set_aside = dict(self._spent)
        self._designs: set[str] = set()
        self._sound: set[str] = set()
        self._is_closed = False

    def saw(self, event: ev.Event) -> None:
        """Take in the next durable event."""
        self.n_seen += 1
        match event:
            case ev.RunStarted():
                extra = event.config.get("replicate_quotas", {})
                for scale, quota in zip(event.scales, event.quotas, strict=True):
                    self._quotas[scale, True], self._quotas[scale, False] = quota, extra.get(scale, 0)
                self._caps = {k: v for k, v in event.config.get("caps", {}).items() if v is not None}
                self._price = self._caps.pop("usd_per_gpu_hour", 0.0)
            case ev.DesignProposed():
                _must(event.design not in self._designs, f"{event.design} was proposed twice")
                _must(self._designs.issuperset(event.parents), f"{event.design} has parents that nobody knows")
                self._designs.add(event.design)
            case ev.DesignImplemented():
                self._sound.add(event.design)
            case ev.LeaseGranted():
                self._granted(event)
            case ev.LeaseRefunded() | ev.VerificationRecorded() | ev.VerificationFailed():
                self._settled(event)
            case ev.RunDraining():
                self._is_closed = True
            case ev.RunFinished(reason=reason):
                self._is_closed, self.finished = True, reason
            case ev.RunResumed():
                self._is_closed, self.finished = False, ""

    def _granted(self, event: ev.LeaseGranted) -> None:
        key, account = (event.design, event.scale, event.seed), (event.scale, event.seed == 0)
        _must(not self._is_closed, f"lease {event.lease} was granted though no new work may start")
        _must(event.lease > self._last_lease, f"lease {event.lease} came after lease {self._last_lease}")
        _must(event.design in self._sound, f"{event.design} was leased though it did not pass its check, or is a twin")
        _must(key not in self.commits and key not in self._failed, f"{key} was leased though it has ended")
        self._last_lease, self.leases[event.lease] = event.lease, event
        out = sum((lease.design, lease.scale, lease.seed) == key for lease in self.leases.values())
        _must(out == 1, f"{key} is leased to {out} holders")
        self.used[account] += 1
        _must(self.used[account] <= self._quotas[account], f"quota {self._quotas[account]} at {account} is overrun")
        self._book(self._set_aside, event.n_tokens, event.gpu_seconds, 1)
        for name, cap in self._caps.items():
            total = self._total(name)
            _must(total <= cap * (1 + 1e-9), f"lease {event.lease} passes the cap of {cap} {name}: {total}")

    def _total(self, name: str) -> float:
        if name == "usd":
            return self._total("gpu_seconds") / 3600 * self._price
        return self._spent[name] + self._set_aside[name]

    def _settled(self, event: ev.LeaseRefunded | ev.VerificationRecorded | ev.VerificationFailed) -> None:
        lease = self.leases.pop(event.lease, None)
        if lease is None:
            raise AuditError(f"lease {event.lease} ended ({event.kind}), but it was {self.ended.get(event.lease)}")
        key = (lease.design, lease.scale, lease.seed)
        self.ended[event.lease] = event.kind
        self._book(self._set_aside, -lease.n_tokens, -lease.gpu_seconds, -1)
        self._book(self._spent, event.n_tokens, event.gpu_seconds, 1)
        if isinstance(event, ev.LeaseRefunded):
            self._deaths[key] += event.cause not in ORDERLY_CAUSES
            if self._deaths[key] >= POISON_AFTER:
                self.poisoned.add(key)
                self._failed.add(key)
            else:
                self.used[lease.scale, lease.seed == 0] -= 1
                self._spent["runs"] -= 1
            return
        _must(key == (event.design, event.scale, event.seed), f"lease {event.lease} of {key} took another's result")
        if isinstance(event, ev.VerificationFailed):
            self._failed.add(key)
            return
        _must(key not in self.commits, f"{key} was committed twice")
        self.commits[key] = tuple(sorted(event.metrics.items()))

    def _book(self, account: dict[str, float], n_tokens: int, gpu_seconds: float, runs: int) -> None:
        account["tokens"] += n_tokens
        account["gpu_seconds"] += gpu_seconds
        account["runs"] += runs

    def told(self, event: ev.Event) -> None:
        """Somebody is being told that this event stands: then it must be durable."""
        match event:
            case ev.DesignProposed():
                _must(event.design in self._designs, f"{event.design} was acknowledged and is not in the journal")
            case ev.LeaseGranted():
                known = event.lease in self.leases or event.lease in self.ended
                _must(known, f"lease {event.lease} was acknowledged and is not in the journal")
            case ev.LeaseRefunded() | ev.VerificationRecorded() | ev.VerificationFailed():
                _must(
                    event.lease in self.ended, f"lease {event.lease}'s end was acknowledged and is not in the journal"
                )
            case _:
                pass


def audit_end(disk: Disk, auditor: Auditor, schedule: Schedule, *, live_digest: str) -> None:
    """What must hold when a run has ended.

    Raises:
        AuditError: A lease is out, a blob is absent, replay does not equal life, or the run ended though it could go on.
    """
    _must(not auditor.leases, f"leases {sorted(auditor.leases)} never ended")
    _must(len(disk.entries) == auditor.n_seen, "the journal is not what was seen of it")
    tree = replayed(disk.entries)
    _must(tree.digest() == live_digest, "replay does not equal life")
    for record in tree:
        _must(record.program in disk.blobs, f"the program of {record.id} is not there")
        for run in record.runs:
            _must(run.outcome != "committed" or run.report in disk.blobs, f"a report of {record.id} is not there")
    _must(bool(tree.finished) and tree.finished == auditor.finished, "the run has no end")
    _must(
        tree.ledger.is_spent() == tree.finished.startswith("every quota is spent"), f"it ended with {tree.finished!r}"
    )
    known, late = _at_its_end(disk.entries)
    strange = [entry.event.kind for entry in late if not isinstance(entry.event, _OF_DESIGNERS)]
    _must(not strange, f"after its end came {strange}")
    if late:
        tree = replayed(known)
    bottom = tree.ledger.account(tree.scales[0])
    n_failed = ev.n_failed_in_a_row((entry.event for entry in known), schedule.max_failed)
    gave_up = schedule.is_closed or n_failed >= schedule.max_failed
    capped = "cap of" in tree.finished
    _must(not bottom.left or gave_up or capped, f"{bottom.left} designs short, it ended with {tree.finished!r}")
    idle = _could_climb(tree)
    is_reason = capped or "stays unspent" in tree.finished
    _must(not idle or is_reason, f"it ended with {tree.finished!r} though {idle[:3]} could climb")
    tree.finished = ""
    promotion = resolve_promotion(schedule.promotion)
    further = decide(tree, promotion, Random(0), proposals_open=False)
    _must(isinstance(further, Finished), f"it ended with more to do: {further}")


def _at_its_end(entries: Sequence[Entry]) -> tuple[Sequence[Entry], Sequence[Entry]]:
    """What was known when the run ended, its end with it, and what came later: a designer that was given up may still
    hand in its design, which is kept for a session to come."""
    last = max((i for i, entry in enumerate(entries) if isinstance(entry.event, ev.RunFinished)), default=len(entries))
    return entries[: last + 1], entries[last + 1 :]


def _could_climb(tree: EvolutionTree) -> list[tuple[str, str]]:
    """Designs with the scale where they could run: sound, verified below, without a run there, and quota is left."""
    found = []
    for k, scale in enumerate(tree.scales):
        if tree.ledger.account(scale).left:
            found += [
                (record.id, scale) for record in tree
                if record.state in (DesignState.IMPLEMENTED, DesignState.VERIFIED) and record.first_run(scale) is None
                and (k == 0 or record.committed(tree.scales[k - 1]))
            ]  # fmt: skip
    return found


def replayed(entries: Sequence[Entry]) -> EvolutionTree:
    """The tree that these events give when they are written out as text and read back."""
    tree = EvolutionTree(RelativeFitness())
    for line in encoded(entries):
        tree.apply(ev.event_from_json(json.loads(line)))
    return tree


def _must(holds: bool, otherwise: str) -> None:
    if not holds:
        raise AuditError(otherwise)
