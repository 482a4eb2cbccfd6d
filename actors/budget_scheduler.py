"""Decides which design is verified where next, and grants the leases."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from random import Random

import ray

from actors.batching import Batched
from actors.handles import TreeHandle
from actors.messages import Done, VerifierTask, VerifyTask, Wait
from genesys.evolution import EvolutionTree
from genesys.evolution.events import LeaseGranted, LeaseRefunded, RunFinished
from genesys.evolution.fitness import resolve_fitness
from genesys.evolution.promotion import Finished, PromotionStrategy, Verify, decide
from genesys.ladder import Scale

log = logging.getLogger(__name__)

MAX_REFUSALS = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class SchedulerSettings:
    """What the scheduler is told at construction."""

    scales: tuple[Scale, ...]
    promotion: PromotionStrategy
    seed: int = 0
    fitness: str = "relative"


class BudgetScheduler(Batched):
    """Replays the tree's events into a replica of its own and decides on that.

    Its own grants go into the replica at once, so that many holders are served while the first grant is still being
    written. The tree has the last word on each: a refusal costs a new replica and another try, never a wrong grant.
    """

    def __init__(self, tree: TreeHandle, settings: SchedulerSettings) -> None:
        self._tree = tree
        self._settings = settings
        self._scales = {scale.name: scale for scale in settings.scales}
        self._rng = Random(f"promotion/{settings.seed}")
        self._proposals_open = True
        self._reading = asyncio.Lock()
        self._start_over()

    def _start_over(self) -> None:
        self._replica = EvolutionTree(resolve_fitness(self._settings.fitness))
        self._n_seen = 0  # events of the tree that the replica holds
        self._ahead: set[int] = set()  # leases that it holds and the tree has not reported yet

    def __repr__(self) -> str:
        return "BudgetScheduler"

    async def lease(self, holder: str) -> VerifierTask:
        """The next verification for a holder that is free."""
        await self._catch_up()
        for _ in range(MAX_REFUSALS):
            decision = decide(self._replica, self._settings.promotion, self._rng, proposals_open=self._proposals_open)
            if (failure := getattr(decision, "failure", None)) is not None:
                await self._tree.append(failure, -1)
            match decision:
                case Verify() as chosen:
                    task = await self._grant(chosen, holder)
                    if task is not None:
                        return task
                case Finished(reason=reason):
                    if not self._replica.finished:
                        await self._tree.append(RunFinished(reason=reason), -1)
                    return Done(reason=reason)
                case waiting:
                    return Wait(reason=waiting.reason)
        return Wait(reason="the books moved on; asking again", seconds=0.1)

    async def close_proposals(self) -> None:
        """Learn that no designer will propose any more, so that the ladder ends with fewer designs than quota."""
        self._proposals_open = False

    async def release(self, holder: str, cause: str, reason: str) -> int:
        """Refund the leases of a holder that died ("" for all holders); gives their number."""
        await self._catch_up()
        held = [lease.lease for lease in self._replica.leases.values() if holder in ("", lease.holder)]
        for lease in held:
            await self._tree.append(LeaseRefunded(lease=lease, cause=cause, reason=reason), -1)
        return len(held)

    async def _grant(self, chosen: Verify, holder: str) -> VerifyTask | None:
        """Grant a lease, first here and then in the books; None when the books refuse it."""
        record = self._replica.record(chosen.design)
        event = LeaseGranted(
            lease=self._replica.last_lease + 1,
            design=chosen.design,
            scale=chosen.scale,
            holder=holder,
            reason=chosen.reason,
        )
        self._replica.apply(event)
        self._ahead.add(event.lease)
        if not (await self._tree.append(event, -1)).accepted and not await self._stands(event):
            return None
        log.info("%s verifies %s at %s: %s", holder, record.name, chosen.scale, chosen.reason)
        return VerifyTask(
            lease=event.lease,
            design=record.id,
            name=record.name,
            scale=self._scales[chosen.scale],
            shape={key: record.sizes[chosen.scale][key] for key in ("vocab_size", "d_model", "n_blocks")},
            seed=event.seed,
            recipe=event.recipe,
            program=await self._tree.program(record.id),
        )

    async def _stands(self, event: LeaseGranted) -> bool:
        """Whether a grant is in the books after all, because the answer to it was lost; reads them anew."""
        async with self._reading:
            self._start_over()
        await self._catch_up()
        found = self._replica.leases.get(event.lease)
        return found is not None and (found.design, found.holder) == (event.design, event.holder)

    async def _catch_up(self) -> None:
        """Take in what the tree has recorded since; callers that come meanwhile share the reading."""
        if self._reading.locked():
            async with self._reading:
                return
        async with self._reading:
            while news := await self._tree.news(self._n_seen):
                for event in news:
                    self._n_seen += 1
                    if isinstance(event, LeaseGranted) and event.lease in self._ahead:
                        self._ahead.discard(event.lease)
                    else:
                        self._replica.apply(event)


BudgetSchedulerActor = ray.remote(BudgetScheduler)
