"""Decides which design is verified where next, and grants the leases."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from random import Random

import ray

from actors.handles import TreeHandle
from actors.messages import Done, VerifierTask, VerifyTask, Wait
from genesys.evolution import EvolutionTree
from genesys.evolution.events import Event, LeaseGranted, LeaseRefunded, RunFinished
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


class BudgetScheduler:
    """Replays the tree's events into a replica of its own and decides on that.

    The tree has the last word on each lease, so a stale replica costs another try, never a wrong grant.
    """

    def __init__(self, tree: TreeHandle, settings: SchedulerSettings) -> None:
        self._tree = tree
        self._scales = {scale.name: scale for scale in settings.scales}
        self._replica = EvolutionTree(resolve_fitness(settings.fitness))
        self._strategy = settings.promotion
        self._rng = Random(f"promotion/{settings.seed}")
        self._turn = asyncio.Lock()  # calls interleave at every await; the replica has one user at a time
        self._proposals_open = True

    def __repr__(self) -> str:
        return "BudgetScheduler"

    async def lease(self, holder: str) -> VerifierTask:
        """The next verification for a holder that is free."""
        async with self._turn:
            return await self._lease(holder)

    async def close_proposals(self) -> None:
        """Learn that no designer will propose any more, so that the ladder ends with fewer designs than quota."""
        self._proposals_open = False

    async def _lease(self, holder: str) -> VerifierTask:
        await self._catch_up()
        for _ in range(MAX_REFUSALS):
            decision = decide(self._replica, self._strategy, self._rng, proposals_open=self._proposals_open)
            if (failure := getattr(decision, "failure", None)) is not None:
                await self._append(failure)
            match decision:
                case Verify() as chosen:
                    task = await self._grant(chosen, holder)
                    if task is not None:
                        return task
                case Finished(reason=reason):
                    await self._finish(reason)
                    return Done(reason=reason)
                case waiting:
                    return Wait(reason=waiting.reason)
        return Wait(reason="the books moved on; asking again", seconds=0.1)

    async def release(self, holder: str, cause: str, reason: str) -> int:
        """Refund the leases of a holder that died ("" for all holders); gives their number."""
        async with self._turn:
            await self._catch_up()
            held = [lease for lease in self._replica.leases.values() if holder in ("", lease.holder)]
            for lease in held:
                await self._append(LeaseRefunded(lease=lease.lease, cause=cause, reason=reason))
            return len(held)

    async def _grant(self, chosen: Verify, holder: str) -> VerifyTask | None:
        record = self._replica.record(chosen.design)
        event = LeaseGranted(
            lease=self._replica.last_lease + 1, design=chosen.design, scale=chosen.scale, holder=holder,
            reason=chosen.reason,
        )  # fmt: skip
        accepted = await self._append(event)
        granted = self._replica.leases.get(event.lease)  # also when the first answer was lost with the tree's process
        if not accepted and (granted is None or (granted.design, granted.holder) != (event.design, holder)):
            return None
        log.info("%s verifies %s at %s: %s", holder, record.name, chosen.scale, chosen.reason)
        shape = {key: record.sizes[chosen.scale][key] for key in ("vocab_size", "d_model", "n_blocks")}
        return VerifyTask(
            lease=event.lease, design=record.id, name=record.name, scale=self._scales[chosen.scale], shape=shape,
            seed=event.seed, recipe=event.recipe, program=await self._tree.program(record.id),
        )  # fmt: skip

    async def _finish(self, reason: str) -> None:
        if not self._replica.finished:
            await self._append(RunFinished(reason=reason))

    async def _append(self, event: Event) -> bool:
        """Offer an event to the tree and take in the news; False when it was refused."""
        answer = await self._tree.append(event, self._replica.n_events)
        self._apply(answer.news)
        if self._replica.n_events < answer.seq:
            await self._catch_up()
        return answer.accepted

    async def _catch_up(self) -> None:
        while news := await self._tree.news(self._replica.n_events):
            self._apply(news)

    def _apply(self, news: tuple[Event, ...]) -> None:
        for event in news:
            self._replica.apply(event)


BudgetSchedulerActor = ray.remote(BudgetScheduler)
