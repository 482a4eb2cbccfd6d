"""Trees and populations for tests, built by real events only."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from random import Random
from typing import Any

from genesys.evolution import EvolutionTree
from genesys.evolution.events import (
    DesignImplemented,
    DesignProposed,
    Event,
    LeaseGranted,
    LeaseRefunded,
    RunStarted,
    VerificationFailed,
    VerificationRecorded,
)
from genesys.evolution.fitness import RelativeFitness
from genesys.evolution.population import Population
from genesys.evolution.promotion import Finished, PromotionStrategy, Verify, Wait, decide
from genesys.evolution.rating import FitnessRule
from genesys.ladder.budget import Cost

SCALES = ("small", "middle", "large")
UNIGRAM_BPB = 4.0


def metrics_for(quality: float, *, recall: bool = True) -> dict[str, float]:
    """Metrics that a design of a quality in 0..1 could have; more quality is better."""
    return {
        "test_bpb": 3.0 - quality,
        "test_bpb_se": 0.01,
        "unigram_bpb": UNIGRAM_BPB,
        "probe_recall": 0.95 if recall else 0.3,
        "probe_recall_se": 0.01,
        "probe_recall_chance": 0.125,
    }


def start_tree(
    *,
    quotas: Sequence[int] = (16, 5, 2),
    reference: str = "",
    rule: FitnessRule | None = None,
    training_seeds: int = 1,
    caps: Mapping[str, float] | None = None,
    costs: Sequence[tuple[int, float]] = (),
    events: list[Event] | None = None,
) -> EvolutionTree:
    """An empty run with as many scales as quotas and equal training seeds at each.

    Args:
        caps: As `Caps` reads them; none by default.
        costs: Tokens and GPU-seconds of a run at each scale; nothing by default.
        events: Collects what is applied.
    """
    tree = EvolutionTree(rule or RelativeFitness())
    names = tuple(SCALES[k] if k < len(SCALES) else f"scale-{k}" for k in range(len(quotas)))
    config = {
        "training_seeds": dict.fromkeys(names, training_seeds),
        "replicate_quotas": {name: quota * (training_seeds - 1) for name, quota in zip(names, quotas, strict=True)},
        "caps": dict(caps or {}),
        "run_costs": {name: {"n_tokens": n, "gpu_seconds": s} for name, (n, s) in zip(names, costs, strict=False)},
    }
    started = RunStarted(run="test", scales=names, quotas=tuple(quotas), reference=reference, config=config)
    apply(tree, started, events)
    return tree


def apply(tree: EvolutionTree, event: Event, events: list[Event] | None = None) -> None:
    """Apply an event, and note it once it was taken."""
    tree.apply(event)
    if events is not None:
        events.append(event)


def add_design(
    tree: EvolutionTree,
    design: str,
    *,
    is_seed: bool = False,
    parents: tuple[str, ...] = (),
    events: list[Event] | None = None,
) -> None:
    """Propose a design and have it found sane."""
    operator = "seed" if is_seed else "mutation" if parents else "scratch"
    proposed = DesignProposed(
        design=design, name=f"name of {design}", program=design, operator=operator, parents=parents, is_seed=is_seed,
        parts=("Block", "Mixer"),
    )  # fmt: skip
    apply(tree, proposed, events)
    apply(tree, DesignImplemented(design=design, checker="test"), events)


def verify(
    tree: EvolutionTree,
    design: str,
    scale: str,
    quality: float,
    *,
    recall: bool = True,
    events: list[Event] | None = None,
) -> None:
    """Lease and commit one verification."""
    lease = tree.last_lease + 1
    apply(tree, LeaseGranted(lease=lease, design=design, scale=scale, holder="test"), events)
    result = VerificationRecorded(
        lease=lease, design=design, scale=scale, metrics=metrics_for(quality, recall=recall), report=f"report-{lease}"
    )
    apply(tree, result, events)


def make_population(
    n: int, *, n_seeds: int = 1, tied: bool = False, n_verified: int | None = None, seed: int = 0
) -> Population:
    """A population of n designs: the first ones are seeds, the first `n_verified` (all) are verified at the bottom.

    A quarter of the verified ones also stand on the second rung. With `tied` all measure alike.
    """
    rng = Random(seed)
    verified = n if n_verified is None else n_verified
    tree = start_tree(quotas=(max(n, 1), max(n // 2, 1), max(n // 4, 1)), reference="design-0" if n_seeds else "")
    for i in range(n):
        parents = (f"design-{rng.randrange(i)}",) if i >= n_seeds and i else ()
        add_design(tree, f"design-{i}", is_seed=i < n_seeds, parents=parents)
    for i in range(verified):
        verify(tree, f"design-{i}", "small", 0.5 if tied else rng.random(), recall=tied or rng.random() < 0.7)
    for i in range(verified // 4):
        verify(tree, f"design-{i}", "middle", 0.5 if tied else rng.random())
    return tree.population()


def climb(
    tree: EvolutionTree, strategy: PromotionStrategy, *, n_designs: int, n_verifiers: int = 2, rng: Random,
    p_refund: float = 0.0, p_fail: float = 0.0, ahead: int = 3, events: list[Event] | None = None,
) -> str:  # fmt: skip
    """Run a whole evolution without work: designs appear, verifiers finish in random order, until nothing is left.

    Args:
        n_designs: How many designs there will ever be; fewer than the bottom quota exhausts the proposals.
        p_refund, p_fail: Chance that a run is refunded, or fails by its own fault.
        ahead: Designs that may wait for a verifier before proposing pauses.

    Returns:
        Why it ended.
    """
    quality: dict[str, float] = {}
    for _ in range(600 * (n_designs + 1) * (len(tree.scales) + 1)):
        while len(quality) < n_designs and len(tree.waiting(tree.scales[0])) < ahead:
            name = f"design-{len(quality)}"
            quality[name] = rng.random()
            add_design(tree, name, is_seed=bool(tree.reference) and len(quality) <= 2, events=events)
        decision = decide(tree, strategy, rng, proposals_open=len(quality) < n_designs)
        match decision:
            case Finished(reason=reason):
                return reason
            case Verify(design=design, scale=scale, seed=seed) if len(tree.leases) < n_verifiers:
                cost = tree.run_costs.get(scale, Cost.of())
                granted = LeaseGranted(
                    lease=tree.last_lease + 1, design=design, scale=scale, seed=seed, holder="v", reason=decision.reason,
                    n_tokens=cost.n_tokens, gpu_seconds=cost.gpu_seconds,
                )  # fmt: skip
                apply(tree, granted, events)
            case Wait() | Verify():
                assert tree.leases, f"nothing runs and nothing starts: {decision.reason}"
                apply(tree, _end_of(tree, quality, rng, p_refund, p_fail), events)
    raise AssertionError("the evolution does not end")


def _end_of(tree: EvolutionTree, quality: dict[str, float], rng: Random, p_refund: float, p_fail: float) -> Event:
    lease = tree.leases[rng.choice(sorted(tree.leases))]
    draw, share = rng.random(), rng.random() if lease.n_tokens or lease.gpu_seconds else 0.0
    used: dict[str, Any] = {"n_tokens": int(share * lease.n_tokens), "gpu_seconds": share * lease.gpu_seconds}
    if draw < p_refund:
        return LeaseRefunded(lease=lease.lease, cause="killed", **used)
    what = used | {"lease": lease.lease, "design": lease.design, "scale": lease.scale, "seed": lease.seed}
    if draw < p_refund + p_fail:
        return VerificationFailed(**what, cause="non-finite")
    noise = 0.02 * rng.random()
    result = metrics_for(math.tanh(quality[lease.design] + noise), recall=rng.random() < 0.5)
    return VerificationRecorded(**what, metrics=result, report="r")
