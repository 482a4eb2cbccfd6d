"""Families of designs with given fitness, by real events."""

from __future__ import annotations

from typing import Any

from genesys.evolution import EvolutionTree
from genesys.evolution.events import (
    DesignImplemented,
    DesignProposed,
    DesignRejected,
    DesignTwinned,
    LeaseGranted,
    VerificationRecorded,
)
from genesys.evolution.fitness import PaperFitness
from genesys.testing.books import start_tree


def open_family(n: int = 100_000) -> EvolutionTree:
    """An empty run in which a design's fitness is what `add` says."""
    return start_tree(quotas=(n, n, n), rule=PaperFitness())


def add(
    tree: EvolutionTree, design: str, value: float | None, *parents: str, operator: str = "mutation", scale: str = "small",
    rejected: bool = False, twin_of: str = "", **fields: Any,
) -> None:  # fmt: skip
    """Propose a design, have it checked, and verify it at a scale if it has a value."""
    if design not in tree.records:
        tree.apply(
            DesignProposed(design=design, name=design, program=design, operator=operator, parents=parents, **fields)
        )
        if rejected:
            tree.apply(DesignRejected(design=design, findings=()))
            return
        if twin_of:
            tree.apply(DesignTwinned(design=design, inherited_from=twin_of, fingerprint="f"))
            return
        tree.apply(DesignImplemented(design=design))
    if value is not None:
        lease = tree.last_lease + 1
        tree.apply(LeaseGranted(lease=lease, design=design, scale=scale, holder="h"))
        tree.apply(
            VerificationRecorded(lease=lease, design=design, scale=scale, metrics={"probe_x": value}, report="r")
        )
