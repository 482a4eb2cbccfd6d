"""Runs with further training seeds: who is due one, by the run's own `training_seeds`."""

from __future__ import annotations

from genesys.evolution.books import CLIMBING
from genesys.evolution.promotion.room import cost_at
from genesys.evolution.tree import EvolutionTree
from genesys.ladder.ledger import RunKey


def next_replicate(tree: EvolutionTree, *, within_caps: bool = True) -> RunKey | None:
    """The replicate to run next: the highest scale first, there the fittest design, its lowest seed.

    A design is due them once it is rated at the scale, and as long as it may climb. Costs as much as there are designs at
    the scale that had all of theirs.

    Args:
        within_caps: Whether to pass over scales at which a cap leaves no room for a run.
    """
    wanted = tree.run.config.get("training_seeds", {}) if tree.run else {}
    for scale in reversed(tree.scales):
        if wanted.get(scale, 1) < 2 or tree.ledger.account(scale, replicates=True).left < 1:
            continue
        if within_caps and not tree.budget.room(cost_at(tree, scale)):
            continue
        for record in map(tree.record, tree.ratings.by_scale[scale]):
            first = record.first_run(scale)
            if first is None or record.state not in CLIMBING:
                continue
            for seed in range(1, wanted[scale]):
                key = RunKey(record.id, scale, seed, first.recipe)
                if tree.ledger.state(key) is None:
                    return key
    return None
