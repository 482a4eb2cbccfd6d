"""A run's books with several training seeds a design, built by real events."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from genesys.evolution import EvolutionTree
from genesys.evolution.events import (
    DesignImplemented,
    DesignProposed,
    Event,
    LeaseGranted,
    RunStarted,
    VerificationFailed,
    VerificationRecorded,
)
from genesys.evolution.fitness import RelativeFitness
from genesys.evolution.rating import FitnessRule

BASE = {"test_bpb": 2.5, "test_bpb_se": 0.01, "unigram_bpb": 4.5}

Runs = Sequence[Mapping[str, float] | None]


def replicated(
    designs: Mapping[str, Runs],
    *,
    rule: FitnessRule | None = None,
    seeds: Sequence[str] = ("gpt",),
    scales: Sequence[str] = ("small",),
    reference: str = "gpt",
) -> tuple[EvolutionTree, list[Event]]:
    """Designs with the metrics of their training seeds 0, 1, ... at the lowest scale; None is a failure.

    Returns:
        The tree, and the events that made it.
    """
    config = {"replicate_quotas": dict.fromkeys(scales, 1000)}
    events: list[Event] = [
        RunStarted(run="r", scales=tuple(scales), quotas=(100,) * len(scales), reference=reference, config=config)
    ]
    lease = 0
    for name, runs in designs.items():
        events.append(DesignProposed(design=name, name=name, program="p", operator="o", is_seed=name in seeds))
        events.append(DesignImplemented(design=name, sizes={scales[0]: {"n_params": 1000}}))
        for seed, metrics in sorted(enumerate(runs)):
            lease += 1
            key = {"lease": lease, "design": name, "scale": scales[0], "seed": seed}
            events.append(LeaseGranted(**key, holder="h"))
            if metrics is None:
                events.append(VerificationFailed(**key, cause="non-finite"))
            else:
                events.append(VerificationRecorded(**key, metrics={**BASE, **metrics}, report="", n_tokens=10))
    tree = EvolutionTree(rule or RelativeFitness())
    for event in events:
        tree.apply(event)
    return tree, events
