"""Lives of a run with everything in them that may befall a design, one step for each number drawn."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from random import Random
from typing import Any

from genesys.evolution import EvolutionTree
from genesys.evolution.design import DesignState, Lease
from genesys.evolution.events import (
    DesignImplemented,
    DesignProposed,
    DesignRejected,
    DesignTwinned,
    Event,
    LeaseGranted,
    LeaseRefunded,
    VerificationFailed,
    VerificationRecorded,
)
from genesys.evolution.population import Population
from genesys.evolution.selection import Selection
from genesys.testing.books import apply, metrics_for, start_tree

Select = Callable[[Population], Selection]


def live(
    select: Select, draws: Iterable[int], *, n_seeds: int = 2, tied: bool = False
) -> tuple[EvolutionTree, list[Event]]:
    """A run, and its events, in which designs are proposed as a strategy says, one step for each number drawn.

    A step checks a proposal (sane, rejected or a twin), or verifies (recorded, failed, or refunded until it is poison; at
    times a second training seed), or proposes. The strategy is asked at every step, whether its answer is used or not.

    Args:
        draws: Any numbers; they decide all that happens beside the strategy.
        tied: Whether all designs measure alike.
    """
    events: list[Event] = []
    tree = start_tree(quotas=(1000,) * 3, training_seeds=2, reference="design-0" if n_seeds else "", events=events)
    for draw in draws:
        rng, selection = Random(draw), select(tree.population())
        pending = next(iter(tree.in_state(DesignState.PROPOSED)), None)
        if pending is not None:
            apply(tree, _checked(tree, pending, rng), events)
        elif len(tree) < n_seeds:
            apply(tree, _proposed(tree, Selection(operator="scratch", parents=()), is_seed=True), events)
        elif rng.random() < 0.5 or not any(len(tree.waiting(scale)) for scale in tree.scales):
            apply(tree, _proposed(tree, selection), events)
        else:
            _verify(tree, rng, tied, events)
    return tree, events


def _proposed(tree: EvolutionTree, selection: Selection, *, is_seed: bool = False) -> DesignProposed:
    return DesignProposed(
        design=f"design-{len(tree)}", name=f"name {len(tree)}", program="p", parts=("Block",), is_seed=is_seed,
        operator="seed" if is_seed else selection.operator, parents=selection.parents,
    )  # fmt: skip


def _checked(tree: EvolutionTree, design: str, rng: Random) -> Event:
    sane = [*tree.in_state(DesignState.IMPLEMENTED), *tree.in_state(DesignState.VERIFIED)]
    outcome = rng.random()
    if outcome < 0.15:
        return DesignRejected(design=design, checker="test", findings=())
    if outcome < 0.3 and sane and not tree.record(design).is_seed:
        return DesignTwinned(design=design, inherited_from=rng.choice(sane), checker="test")
    return DesignImplemented(design=design, checker="test")


def _verify(tree: EvolutionTree, rng: Random, tied: bool, events: list[Event]) -> None:
    scale = rng.choice([s for s in tree.scales if len(tree.waiting(s))])
    waiting = tree.waiting(scale)
    design, seed = waiting[rng.randrange(len(waiting))], 0
    once = [d for d in tree.in_state(DesignState.VERIFIED) if len(tree.record(d).runs) == 1]
    if once and rng.random() < 0.2:
        design, scale, seed = rng.choice(once), tree.scales[0], 1
    lease = tree.last_lease + 1
    apply(tree, LeaseGranted(lease=lease, design=design, scale=scale, seed=seed, holder="test"), events)
    metrics = metrics_for(0.5 if tied else rng.random(), recall=tied or rng.random() < 0.5)
    apply(tree, _ended(tree.leases[lease], metrics, rng.random()), events)


def _ended(lease: Lease, metrics: dict[str, float], outcome: float) -> Event:
    if outcome < 0.2:
        return LeaseRefunded(lease=lease.lease, cause="killed")
    what: dict[str, Any] = {"lease": lease.lease, "design": lease.design, "scale": lease.scale, "seed": lease.seed}
    if outcome < 0.35:
        return VerificationFailed(**what, cause="non-finite")
    return VerificationRecorded(**what, metrics=metrics, report="r")
