"""The granter of leases, simulated: `actors.budget_scheduler` step by step, with the real `decide`."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from math import inf
from random import Random
from typing import Any

from genesys.evolution import BookkeepingError, EvolutionTree, Lease
from genesys.evolution.events import Event, LeaseGranted, LeaseRefunded, RunFinished
from genesys.evolution.fitness import RelativeFitness
from genesys.evolution.population import Population
from genesys.evolution.promotion import Finished, Promotion, PromotionStrategy, Verify, decide, resolve_promotion
from genesys.evolution.promotion.base import Decline
from genesys.ladder.budget import Cost
from genesys.ladder.ledger import RunKey
from genesys.testing.simulation.clock import Lock, Process
from genesys.testing.simulation.messages import Done, Verification, Wait
from genesys.testing.simulation.schedule import Schedule

MAX_REFUSALS = 20


class Granter:
    """One incarnation of the scheduler's actor.

    Args:
        ask_tree: Calls a method of the tree.
        granted_at: When the leases were granted that stood in the journal at the session's start.
    """

    def __init__(
        self, process: Process, schedule: Schedule, ask_tree: Callable[..., Awaitable[Any]],
        granted_at: Mapping[int, float],
    ) -> None:  # fmt: skip
        self._schedule, self._ask_tree = schedule, ask_tree
        self._promotion: PromotionStrategy = resolve_promotion(schedule.promotion)
        if schedule.p_policy_fails:
            self._promotion = _Failing(self._promotion, schedule.p_policy_fails)
        self._rng = Random(f"promotion/{schedule.seed}")
        self._reading = Lock(process.clock)
        self._n_begun = self._n_read = 0
        self._process = process
        self._granted_at = dict(granted_at)
        self._forget()

    def _now(self) -> float:
        return self._process.clock.now * self._process.rate

    def _forget(self) -> None:
        self.replica = EvolutionTree(RelativeFitness())
        self._n_seen = 0
        self._ahead: dict[int, LeaseGranted] = {}

    async def lease(self, holder: str, proposals_open: bool) -> Verification | Wait | Done:
        for _ in range(MAX_REFUSALS):
            await self._catch_up()
            held = next((lease for lease in self.replica.leases.values() if lease.holder == holder), None)
            if held is not None:
                return self._task(held)
            decision = decide(self.replica, self._promotion, self._rng, proposals_open=proposals_open)
            granted = await self._grant(decision, holder) if isinstance(decision, Verify) else None
            if (failure := getattr(decision, "failure", None)) is not None:
                await self._ask_tree("append", failure)
            match decision:
                case Verify():
                    if granted is not None:
                        return self._task(granted)
                case Finished(reason=reason):
                    if not self.replica.finished:
                        await self._ask_tree("append", RunFinished(reason=reason))
                    return Done(reason)
                case waiting:
                    return Wait(waiting.reason)
        return Wait("the books moved on; asking again", 0.1)

    async def release(self, holder: str, cause: str, reason: str) -> int:
        await self._catch_up()
        held = [lease for lease in self.replica.leases.values() if holder in ("", lease.holder)]
        for lease in held:
            await self._ask_tree("append", self._refund(lease, cause, reason))
        return len(held)

    def _refund(self, lease: Lease, cause: str, reason: str) -> LeaseRefunded:
        elapsed_s = self._now() - self._granted_at.get(lease.lease, inf)
        gpu_seconds = elapsed_s if elapsed_s >= 0 else lease.gpu_seconds
        return LeaseRefunded(
            lease=lease.lease, cause=cause, reason=reason, n_tokens=lease.n_tokens,
            gpu_seconds=min(lease.gpu_seconds, gpu_seconds),
        )  # fmt: skip

    async def _grant(self, chosen: Verify, holder: str) -> Lease | None:
        key = RunKey(chosen.design, chosen.scale, chosen.seed)
        cost = self.replica.run_costs.get(chosen.scale, Cost.of())
        event = LeaseGranted(
            lease=self.replica.last_lease + 1, design=key.design, scale=key.scale, seed=key.seed, holder=holder,
            attempt=self.replica.n_deaths(key) + 1, reason=chosen.reason,
            n_tokens=cost.n_tokens, gpu_seconds=cost.gpu_seconds,
        )  # fmt: skip
        self.replica.apply(event)
        self._ahead[event.lease] = event
        self._granted_at[event.lease] = self._now()
        granted = self.replica.leases[event.lease]
        try:
            accepted = (await self._ask_tree("append", event)).accepted
        except BaseException:
            self._forget()
            raise
        if accepted:
            return granted
        await self._start_over()
        return granted if self.replica.leases.get(event.lease) == granted else None

    def _task(self, lease: Lease) -> Verification:
        rung = self._schedule.scales.index(lease.scale)
        return Verification(lease.lease, lease.design, lease.scale, rung, lease.seed, lease.gpu_seconds)

    async def _start_over(self) -> None:
        async with self._reading:
            self._forget()
            await self._read()

    async def _catch_up(self) -> None:
        n_begun = self._n_begun
        async with self._reading:
            if self._n_read <= n_begun:
                self._n_begun += 1
                await self._read()
                self._n_read = self._n_begun

    async def _read(self) -> None:
        while news := await self._ask_tree("news", self._n_seen):
            try:
                self._take_in(news)
            except BookkeepingError:
                self._forget()

    def _take_in(self, news: tuple[Event, ...]) -> None:
        for event in news:
            if not (isinstance(event, LeaseGranted) and self._ahead.pop(event.lease, None) == event):
                self.replica.apply(event)
            self._n_seen += 1


class _Failing:
    """A strategy of somebody else's that raises now and then."""

    def __init__(self, inner: PromotionStrategy, p: float) -> None:
        self._inner, self._p = inner, p

    def promote(
        self, population: Population, openings: Mapping[str, int], *, rng: Random
    ) -> Promotion | Decline | None:
        if rng.random() < self._p:
            raise RuntimeError("a strategy that fails now and then")
        return self._inner.promote(population, openings, rng=rng)
