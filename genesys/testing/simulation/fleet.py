"""Any number of verifiers on a ladder of any size, nothing going wrong: how long it takes, and who idles.

Messages and writes take no time and designers always keep up, so that what idles does so by the ladder's own rules.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from heapq import heappop, heappush
from random import Random

from genesys.evolution import EvolutionTree
from genesys.evolution.events import LeaseGranted, RunStarted, VerificationRecorded
from genesys.evolution.fitness import RelativeFitness
from genesys.evolution.promotion import Finished, Verify, decide, resolve_promotion
from genesys.evolution.rating import FitnessRule
from genesys.evolution.selection import resolve_selection, select_safely
from genesys.testing.simulation.schedule import Schedule
from genesys.testing.simulation.world import World, lognormal, proposal


@dataclass(frozen=True, slots=True, kw_only=True)
class FleetReport:
    """How a fleet fared; seconds are virtual.

    Attributes:
        work_s: Of all verifications together.
        path_s: The longest chain of one design's verifications: no number of verifiers is faster.
        last_lease_s: When the last quota was leased.
        busy_share: Of the verifiers' time until then.
        n_runs: Committed runs, by scale.
    """

    n_verifiers: int
    makespan_s: float
    work_s: float
    path_s: float
    last_lease_s: float
    busy_share: float
    n_runs: tuple[int, ...]
    reason: str

    @property
    def over_bound(self) -> float:
        """Makespan over what no schedule can beat, `max(work / n, longest chain)`."""
        return self.makespan_s / max(self.work_s / self.n_verifiers, self.path_s)


def run_fleet(
    quotas: Sequence[int], mean_s: Sequence[float], n_verifiers: int, *, sigma: float = 1.0, seed: int = 0,
    promotion: str = "successive_halving", selection: str = "quadrant", n_seeds: int = 5,
    rule: FitnessRule | None = None, on_idle: Callable[[EvolutionTree], None] = lambda _: None,
) -> FleetReport:  # fmt: skip
    """Verify a whole ladder.

    Args:
        quotas: From the bottom up, the first above 0.
        mean_s: Of a verification at each scale; durations are lognormal with this `sigma`.
        on_idle: Called whenever a verifier has nothing to do, with the books as they stand then.
    """
    schedule = Schedule(
        seed=seed,
        quotas=tuple(quotas),
        n_given=n_seeds,
        n_seeds=n_seeds,
        p_twin=0.0,
        p_duplicate=0.0,
        selection=selection,
    )
    fleet = _Fleet(schedule, n_verifiers, promotion, rule or RelativeFitness())
    running: list[tuple[float, int, float]] = []  # end, lease, start
    now, spans, reason = 0.0, list[tuple[float, float]](), ""
    while True:
        while len(running) < n_verifiers and (lease := fleet.next_lease()):
            rung = fleet.tree.scales.index(fleet.tree.leases[lease].scale)
            # by design and rung, so that fleets of all sizes have the same work
            chance = Random(f"{seed}/{fleet.tree.leases[lease].design}/{rung}")
            heappush(running, (now + lognormal(chance, mean_s[rung], sigma), lease, now))
        if len(running) < n_verifiers and running:
            on_idle(fleet.tree)
        if not running:
            reason = fleet.reason
            break
        now, lease, start = heappop(running)
        spans.append((start, now))
        fleet.finish(lease, now - start)
    last = max(start for start, _ in spans)
    busy = sum(min(end, last) - start for start, end in spans)
    accounts = [fleet.tree.ledger.account(scale) for scale in fleet.tree.scales]
    return FleetReport(
        n_verifiers=n_verifiers, makespan_s=now, work_s=sum(end - start for start, end in spans),
        path_s=max(fleet.chains.values()), last_lease_s=last, busy_share=busy / (n_verifiers * last) if last else 1.0,
        n_runs=tuple(account.committed for account in accounts), reason=reason,
    )  # fmt: skip


class _Fleet:
    """The books of a fleet, and who comes next."""

    def __init__(self, schedule: Schedule, n_verifiers: int, promotion: str, rule: FitnessRule) -> None:
        self._schedule, self._ahead = schedule, n_verifiers + 3
        self._promotion, self._selection = resolve_promotion(promotion), resolve_selection(schedule.selection)
        self._rng = Random(f"fleet/{schedule.seed}")
        self._world = World(schedule)
        self.tree = EvolutionTree(rule)
        self.chains: defaultdict[str, float] = defaultdict(float)  # seconds of each design's verifications so far
        self.reason = ""
        self.tree.apply(
            RunStarted(
                run="fleet",
                scales=schedule.scales,
                quotas=schedule.quotas,
                reference="given-0" if schedule.n_seeds else "",
            )
        )
        for proposed in self._world.given():
            self.tree.apply(proposed)
            self.tree.apply(self._world.verdict(proposed.design, is_seed=True))
        self._n_sane = schedule.n_given

    def next_lease(self) -> int:
        """Grant a lease, and give its number; 0 when none may be granted now."""
        self._design()
        is_open = self._n_sane < self._schedule.quotas[0]
        decision = decide(self.tree, self._promotion, self._rng, proposals_open=is_open)
        match decision:
            case Verify(design=design, scale=scale):
                lease = self.tree.last_lease + 1
                self.tree.apply(LeaseGranted(lease=lease, design=design, scale=scale, holder="fleet"))
                return lease
            case Finished(reason=reason):
                self.reason = reason
        return 0

    def _design(self) -> None:
        bottom = self.tree.scales[0]
        while self._n_sane < self._schedule.quotas[0] and len(self.tree.waiting(bottom)) < self._ahead:
            selection, _ = select_safely(self._selection, self.tree.population(), self._rng)
            design = self._world.invent(selection.parents, self._rng.getrandbits(62))
            assert design is not None, "no duplicates were asked for"
            self.tree.apply(proposal(design, selection.operator, selection.parents, "fleet"))
            verdict = self._world.verdict(design)
            self.tree.apply(verdict)
            self._n_sane += verdict.kind == "design_implemented"

    def finish(self, number: int, seconds: float) -> None:
        lease = self.tree.leases[number]
        metrics = self._world.metrics(lease.design, lease.scale, lease.seed)
        self.chains[lease.design] += seconds
        self.tree.apply(
            VerificationRecorded(
                lease=number, design=lease.design, scale=lease.scale, metrics=metrics, report="", seconds=seconds
            )
        )


def barrier_busy_share(
    n_runs: Sequence[int], mean_s: Sequence[float], n_workers: int, *, sigma: float, seed: int = 0
) -> float:
    """How busy workers are that start together and wait for the slowest, generation after generation, rung after rung."""
    rng, work_s, span_s = Random(f"barrier/{seed}"), 0.0, 0.0
    for n, mean in zip(n_runs, mean_s, strict=True):
        for first in range(0, n, n_workers):
            generation = [lognormal(rng, mean, sigma) for _ in range(min(n_workers, n - first))]
            work_s, span_s = work_s + sum(generation), span_s + max(generation)
    return work_s / (span_s * n_workers)
