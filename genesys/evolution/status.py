"""Where a run stands, as one small value for progress displays and dashboards."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from genesys.evolution.design import DesignState
from genesys.evolution.rating import Fitness
from genesys.evolution.tree import EvolutionTree
from genesys.ladder.budget import Budget


@dataclass(frozen=True, slots=True, kw_only=True)
class ScaleStatus:
    """One rung: designs running, verified and failed, of its quota; `cost` of one of them, relative to other rungs."""

    name: str
    quota: int
    running: int
    verified: int
    failed: int
    cost: float = 1.0

    @property
    def finished(self) -> int:
        return self.verified + self.failed


@dataclass(frozen=True, slots=True, kw_only=True)
class CapStatus:
    """What was used of one thing (runs, tokens, GPU-hours, USD), what is set aside, and the cap; None for no cap."""

    what: str
    spent: float
    reserved: float
    cap: float | None

    def __str__(self) -> str:
        return f"{self.spent:,.6g} of {self.cap:,.6g} {self.what}" if self.cap is not None else ""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunStatus:
    """Where a run stands.

    Attributes:
        states: Number of designs by state.
        best: Id of the design that leads the leaderboard; "" before the first is rated.
        caps: What was used, by the kinds that a cap may be set on.
        n_open_sessions: Sessions of language models that have not ended.
        out_of_money: Why no further session starts; "" while they do.
        ended: Why the run ended or takes no new work; "" while it goes on.
    """

    run: str
    n_events: int
    states: Mapping[str, int]
    n_failed_proposals: int
    scales: tuple[ScaleStatus, ...]
    best: str = ""
    best_name: str = ""
    best_scale: str = ""
    best_fitness: Fitness | None = None
    n_open_sessions: int = 0
    out_of_money: str = ""
    ended: str = ""
    caps: tuple[CapStatus, ...] = ()

    @property
    def spending(self) -> str:
        """What was used against the caps that are set, in words; "" without any."""
        return ", ".join(text for cap in self.caps if (text := str(cap)))

    @property
    def n_designs(self) -> int:
        return sum(self.states.values())


def run_status(tree: EvolutionTree) -> RunStatus:
    """Summarise a tree; O(1) in the number of designs."""
    best = tree.ratings.standing[0] if len(tree.ratings.standing) else ""
    rung = tree.ratings.rung(best) if best else -1
    best_scale = tree.scales[rung] if rung >= 0 else ""
    return RunStatus(
        run=tree.run.run if tree.run else "",
        n_events=tree.n_events,
        states={state.value: len(tree.in_state(state)) for state in DesignState},
        n_failed_proposals=tree.counters["proposal_failed"],
        scales=tuple(_scale_status(tree, scale) for scale in tree.scales),
        best=best,
        best_name=tree.record(best).name if best else "",
        best_scale=best_scale,
        best_fitness=tree.ratings.fitness_at(best, best_scale) if best_scale else None,
        n_open_sessions=len(tree.open_sessions),
        out_of_money=tree.out_of_money,
        ended=tree.finished or tree.draining,
        caps=_cap_status(tree.budget),
    )


def _cap_status(budget: Budget) -> tuple[CapStatus, ...]:
    caps, spent, reserved = budget.caps, budget.spent, budget.reserved
    hours = None if caps.gpu_seconds is None else caps.gpu_seconds / 3600
    return (
        CapStatus(what="runs", spent=spent.runs, reserved=reserved.runs, cap=caps.runs),
        CapStatus(what="tokens", spent=spent.n_tokens, reserved=reserved.n_tokens, cap=caps.tokens),
        CapStatus(what="GPU-hours", spent=spent.gpu_seconds / 3600, reserved=reserved.gpu_seconds / 3600, cap=hours),
        CapStatus(what="USD", spent=budget.usd, reserved=budget.usd_reserved, cap=caps.usd),
    )


def _scale_status(tree: EvolutionTree, scale: str) -> ScaleStatus:
    account = tree.ledger.account(scale)
    return ScaleStatus(
        name=scale,
        quota=account.quota,
        running=account.reserved,
        verified=account.committed,
        failed=account.failed,
        cost=dict(zip(tree.scales, tree.run.costs, strict=False)).get(scale, 1.0) if tree.run else 1.0,
    )
