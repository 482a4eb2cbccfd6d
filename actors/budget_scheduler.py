"""Decides which design is verified where next, and grants the leases."""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from random import Random

import ray

from actors.batching import Batched
from actors.handles import TreeHandle
from actors.messages import Done, VerifierTask, VerifyTask, Wait
from genesys.evolution import BookkeepingError, DesignRecord, EvolutionTree, Lease
from genesys.evolution.events import (
    Event,
    LeaseGranted,
    LeaseRefunded,
    RunFinished,
    VerificationFailed,
    VerificationRecorded,
)
from genesys.evolution.fitness import resolve_fitness
from genesys.evolution.promotion import Finished, PromotionStrategy, Verify, decide
from genesys.ladder import Scale
from genesys.ladder.budget import Cost
from genesys.ladder.ledger import RunKey
from genesys.verification import recipe_hash

log = logging.getLogger(__name__)

MAX_REFUSALS = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class SchedulerSettings:
    """What the scheduler is told at construction.

    Attributes:
        gpus: Reserved by each verifier.
        granted_at: Of leases that stand in the journal, when they were granted, in seconds since 1970.
    """

    scales: tuple[Scale, ...]
    promotion: PromotionStrategy
    seed: int = 0
    fitness: str = "relative"
    gpus: float = 0.0
    granted_at: Mapping[int, float] = field(default_factory=dict)


class BudgetScheduler(Batched):
    """Replays the tree's events into a replica of its own and decides on that.

    Its own grants go into the replica at once, so that many holders are served while the first grant is still being
    written. The tree has the last word on each: a refusal costs a new replica and another try, never a wrong grant.
    """

    def __init__(
        self, tree: TreeHandle, settings: SchedulerSettings, *, clock: Callable[[], float] = time.time
    ) -> None:
        self._tree = tree
        self._settings = settings
        self._clock = clock
        self._granted_at = dict(settings.granted_at)
        self._scales = {scale.name: scale for scale in settings.scales}
        self._rng = Random(f"promotion/{settings.seed}")
        self._reading = asyncio.Lock()
        self._n_begun = self._n_read = 0  # readings: the last begun, and the last that ended well
        self._forget()

    def _forget(self) -> None:
        self._replica = EvolutionTree(resolve_fitness(self._settings.fitness))
        self._n_seen = 0  # events of the tree that the replica holds
        self._ahead: dict[int, LeaseGranted] = {}  # grants that it holds and the tree has not reported yet

    def __repr__(self) -> str:
        return "BudgetScheduler"

    async def lease(self, holder: str, proposals_open: bool) -> VerifierTask:
        """The next verification for a holder that is free; the one it holds, if an answer to it was lost.

        Args:
            proposals_open: Whether designers may still propose; once they may not, the ladder ends with fewer designs
                than quota.
        """
        for _ in range(MAX_REFUSALS):
            await self._catch_up()
            held = next((lease for lease in self._replica.leases.values() if lease.holder == holder), None)
            if held is not None:
                return await self._task(held, self._replica.record(held.design))
            decision = decide(self._replica, self._settings.promotion, self._rng, proposals_open=proposals_open)
            granted = record = None
            if isinstance(decision, Verify):  # into the replica before anything is awaited: it holds for this moment
                record = self._replica.record(decision.design)
                granted = await self._grant(decision, holder)
            if (failure := getattr(decision, "failure", None)) is not None:
                await self._tree.append(failure)
            match decision:
                case Verify():
                    if granted is not None and record is not None:
                        return await self._task(granted, record)
                case Finished(reason=reason):
                    if not self._replica.finished:
                        await self._tree.append(RunFinished(reason=reason))
                    return Done(reason=reason)
                case waiting:
                    return Wait(reason=waiting.reason)
        return Wait(reason="the books moved on; asking again", seconds=0.1)

    async def release(self, holder: str, cause: str, reason: str) -> int:
        """Refund the leases of a holder that died ("" for all holders); gives their number."""
        await self._catch_up()
        held = [lease for lease in self._replica.leases.values() if holder in ("", lease.holder)]
        for lease in held:
            await self._tree.append(self._refund(lease, cause, reason))
        return len(held)

    def _refund(self, lease: Lease, cause: str, reason: str) -> LeaseRefunded:
        """Nobody knows how far a dead holder came: what was set aside stays spent, but for GPU time not yet gone by."""
        granted_at = self._granted_at.get(lease.lease, math.inf)
        elapsed_s = self._clock() - granted_at  # below 0 where it is not known, or a clock was set back
        gpu_seconds = elapsed_s * self._settings.gpus if elapsed_s >= 0 else lease.gpu_seconds
        return LeaseRefunded(
            lease=lease.lease, cause=cause, reason=reason, n_tokens=lease.n_tokens,
            gpu_seconds=min(lease.gpu_seconds, gpu_seconds),
        )  # fmt: skip

    async def _grant(self, chosen: Verify, holder: str) -> Lease | None:
        """Grant a lease, first here and then in the books; None when the books refuse it."""
        scale = self._scales[chosen.scale]
        key = RunKey(chosen.design, chosen.scale, chosen.seed, recipe_hash(asdict(scale)))
        cost = self._replica.run_costs.get(chosen.scale, Cost.of())
        event = LeaseGranted(
            lease=self._replica.last_lease + 1,
            design=key.design,
            scale=key.scale,
            seed=key.seed,
            recipe=key.recipe,
            holder=holder,
            attempt=self._replica.n_deaths(key) + 1,
            reason=chosen.reason,
            n_tokens=cost.n_tokens,
            gpu_seconds=cost.gpu_seconds,
        )
        self._replica.apply(event)
        self._ahead[event.lease] = event
        self._granted_at[event.lease] = self._clock()
        granted = self._replica.leases[event.lease]
        log.info("%s verifies %s at %s: %s", holder, chosen.design[:12], chosen.scale, chosen.reason)
        try:
            accepted = (await self._tree.append(event)).accepted
        except BaseException:
            self._forget()  # nobody knows whether it stands; held on to, it would be handed out for ever
            raise
        if accepted:
            return granted
        await self._start_over()  # the answer to an accepted grant may have been lost with the tree's process
        return granted if self._replica.leases.get(event.lease) == granted else None

    async def _task(self, lease: Lease, record: DesignRecord) -> VerifyTask:
        return VerifyTask(
            lease=lease.lease,
            design=record.id,
            name=record.name,
            scale=self._scales[lease.scale],
            shape={key: record.sizes[lease.scale][key] for key in ("vocab_size", "d_model", "n_blocks")},
            seed=lease.seed,
            recipe=lease.recipe,
            reference=self._replica.reference,
            program=await self._tree.program(record.id),
        )

    async def _start_over(self) -> None:
        """Build the replica anew from the tree's events."""
        async with self._reading:
            self._forget()
            await self._read()

    async def _catch_up(self) -> None:
        """Take in all that the tree has recorded until now; callers that wait together share a reading.

        One that is under way is not enough: it may have passed what the caller has just settled, and its lease would
        be handed out once more.
        """
        n_begun = self._n_begun
        async with self._reading:
            if self._n_read <= n_begun:
                self._n_begun += 1
                await self._read()
                self._n_read = self._n_begun

    async def _read(self) -> None:
        while news := await self._tree.news(self._n_seen):
            try:
                self._take_in(news)
            except BookkeepingError as error:  # a grant made ahead stands in the way of what really happened
                log.warning("reading the books anew: %s", error)
                self._forget()

    def _take_in(self, news: tuple[Event, ...]) -> None:
        for event in news:
            if not (isinstance(event, LeaseGranted) and self._ahead.pop(event.lease, None) == event):
                self._replica.apply(event)
            if isinstance(event, LeaseRefunded | VerificationRecorded | VerificationFailed):
                self._granted_at.pop(event.lease, None)
            self._n_seen += 1


BudgetSchedulerActor = ray.remote(BudgetScheduler)
