"""Runs with further training seeds: who is due one, by the run's own `training_seeds`."""

from __future__ import annotations

from functools import partial

from genesys.evolution.books import CLIMBING
from genesys.evolution.population import Mark
from genesys.evolution.promotion.room import cost_at
from genesys.evolution.ranking import Ranking
from genesys.evolution.tree import EvolutionTree
from genesys.ladder.ledger import RunKey


def next_replicate(tree: EvolutionTree, *, within_caps: bool = True) -> RunKey | None:
    """The replicate to run next: the highest scale first, there the fittest design, its lowest seed.

    A design is due them once it is rated at the scale, and as long as it may climb.

    Args:
        within_caps: Whether to pass over scales at which a cap leaves no room for a run.
    """
    wanted = tree.run.config.get("training_seeds", {}) if tree.run else {}
    for scale in reversed(tree.scales):
        n_seeds = wanted.get(scale, 1)
        if n_seeds < 2 or tree.ledger.account(scale, replicates=True).left < 1:
            continue
        if within_caps and not tree.budget.room(cost_at(tree, scale)):
            continue
        due = tree.population().kept(("replicates", scale), partial(_Due, scale, n_seeds))
        if (key := due.first(tree)) is not None:
            return key
    return None


class _Due:
    """The designs of one scale with a seed to run, the fittest first; a call costs what is new since the last one."""

    def __init__(self, scale: str, n_seeds: int) -> None:
        self._scale, self._n_seeds = scale, n_seeds
        self._order = Ranking()
        self._under_way: set[str] = set()  # their seeds are all out or done: one that comes back makes them due again
        self._mark: Mark | None = None

    def first(self, tree: EvolutionTree) -> RunKey | None:
        news, self._mark = tree.population().rerated(self._mark)
        for design in (*news, *self._under_way):
            self._sort_in(tree, design)
        while len(self._order):
            design = self._order[0]
            key = self._sort_in(tree, design)
            if key is not None:
                return key
        return None

    def _sort_in(self, tree: EvolutionTree, design: str) -> RunKey | None:
        """Put a design where it belongs; gives its next run, if it is due one."""
        record, keys = tree.record(design), list[RunKey]()
        first = record.first_run(self._scale)
        if first is not None and record.state in CLIMBING and design in tree.ratings.by_scale[self._scale]:
            keys = [RunKey(design, self._scale, seed, first.recipe) for seed in range(1, self._n_seeds)]
        free = next((key for key in keys if tree.ledger.state(key) is None), None)
        self._under_way.discard(design)
        if free is not None:
            self._order.put(design, (tree.ratings.raw(design, self._scale),))
            return free
        self._order.discard(design)
        if any(tree.ledger.state(key) == "reserved" for key in keys):
            self._under_way.add(design)
        return None
