"""Runs with further training seeds: who is due one, by the run's own `training_seeds`."""

from __future__ import annotations

from genesys.evolution.books import CLIMBING
from genesys.evolution.tree import EvolutionTree
from genesys.ladder.ledger import RunKey


def next_replicate(tree: EvolutionTree) -> RunKey | None:
    """The replicate to run next: the highest scale first, there the design that came first, its lowest seed.

    A design is due them once its first run at the scale is committed, and as long as it may climb.
    """
    wanted = tree.run.config.get("training_seeds", {}) if tree.run else {}
    for scale in reversed(tree.scales):
        if wanted.get(scale, 1) < 2 or tree.ledger.account(scale, replicates=True).left < 1:
            continue
        for record in map(tree.record, tree.present(scale)):
            first = record.first_run(scale)
            if first is None or record.state not in CLIMBING:
                continue
            for seed in range(1, wanted[scale]):
                key = RunKey(record.id, scale, seed, first.recipe)
                if tree.ledger.state(key) is None:
                    return key
    return None
