"""Designs that compute what another one does."""

from __future__ import annotations

from genesys.evolution.events import DesignImplemented, DesignTwinned
from genesys.evolution.tree import EvolutionTree


def known_twin(tree: EvolutionTree, checked: DesignImplemented) -> DesignImplemented | DesignTwinned:
    """What the books take in for a sane design: itself, or that it inherits the results of one with its fingerprint.

    Seeds and the reference are measured themselves whatever they equal: scales are built on them.
    """
    original = tree.by_fingerprint.get(checked.fingerprint, "")
    record = tree.records.get(checked.design)
    if not original or checked.design == tree.reference or (record is not None and record.is_seed):
        return checked
    return DesignTwinned(
        design=checked.design, inherited_from=original, fingerprint=checked.fingerprint, checker=checked.checker,
        sizes=checked.sizes, steps=checked.steps,
    )  # fmt: skip
