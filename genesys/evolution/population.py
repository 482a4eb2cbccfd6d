"""What a strategy sees: a read-only facade over the tree, valid for one call."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from itertools import islice
from math import inf
from random import Random
from typing import TYPE_CHECKING, TypeVar, cast, overload

from genesys.evolution.design import DesignRecord, DesignView, confidence
from genesys.evolution.ranking import Ranking
from genesys.evolution.rating import Fitness
from genesys.ladder.ledger import Account

if TYPE_CHECKING:
    from genesys.evolution.tree import EvolutionTree

T = TypeVar("T")

Mark = tuple[int, int]
"""How far a strategy has read what was rerated."""


class Views(Sequence[DesignView]):
    """Views in the order of a ranking, best first, made when they are looked at; a slice of them costs nothing."""

    def __init__(
        self, ids: Ranking | Sequence[str], view: Callable[[str], DesignView], places: range | None = None
    ) -> None:
        self._ids = ids
        self._view = view
        self._places = range(len(ids)) if places is None else places

    def __len__(self) -> int:
        return len(self._places)

    @overload
    def __getitem__(self, index: int) -> DesignView: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[DesignView]: ...
    def __getitem__(self, index: int | slice) -> DesignView | Sequence[DesignView]:
        if isinstance(index, slice):
            return Views(self._ids, self._view, self._places[index])
        return self._view(self._ids[self._places[index]])

    def __iter__(self) -> Iterator[DesignView]:
        return (self._view(self._ids[place]) for place in self._places)


class Population:
    """The designs of a run, for one decision. Sequences are lazy: taking the best few of thousands costs a few.

    Raises:
        RuntimeError: On any use after the tree has changed; ask the tree for a new one.
    """

    def __init__(self, tree: EvolutionTree) -> None:
        self._tree_ = tree
        self._valid_at = tree.n_events
        self._views: dict[str, DesignView] = {}

    @property
    def _tree(self) -> EvolutionTree:
        if self._tree_.n_events != self._valid_at:
            raise RuntimeError("Cannot read this population: the evolution has moved on. Ask the tree for a new one.")
        return self._tree_

    # --- one design ----------------------------------------------------------------------------------------

    def get(self, design: str) -> DesignView:
        """One design.

        Raises:
            BookkeepingError: No such design.
        """
        if design not in self._views:
            self._views[design] = self._make(design)
        return self._views[design]

    def _make(self, design: str) -> DesignView:
        record, ratings = self._tree.record(design), self._tree.ratings
        rung = ratings.rung(design)
        return DesignView(
            id=record.id, name=record.name, parents=record.parents, operator=record.operator, state=record.state,
            is_seed=record.is_seed, parts=record.parts, fitness=ratings.fitness(design), rung=rung,
            confidence=confidence(record.state, rung), niche=ratings.niche(design), order=record.order,
            program=record.program,
        )  # fmt: skip

    def __contains__(self, design: object) -> bool:
        return design in self._tree.records

    def __len__(self) -> int:
        """Designs of any state."""
        return len(self._tree)

    def children(self, design: str) -> Sequence[DesignView]:
        """Designs that name this one as a parent, oldest first."""
        return Views(self._tree.children(design), self.get)

    # --- who may be a parent -------------------------------------------------------------------------------

    @property
    def eligible(self) -> Sequence[DesignView]:
        """Designs that may be parents, implemented or verified, the most confident first."""
        return Views(self._tree.ratings.by_confidence, self.get)

    @property
    def rated(self) -> Sequence[DesignView]:
        """Eligible designs with a fitness, the fittest first, each by its highest scale."""
        return Views(self._tree.ratings.by_value, self.get)

    @property
    def seeds(self) -> tuple[DesignView, ...]:
        """The eligible seeds, in the order given by the user."""
        return tuple(view for view in map(self.get, self._tree.seeds) if view.id in self._tree.ratings.by_confidence)

    @property
    def n_implemented(self) -> int:
        """Designs that passed their check, whatever came after."""
        return self._tree.counters["design_implemented"]

    @property
    def n_verified(self) -> int:
        """Designs with at least one committed verification."""
        return self._tree.n_verified

    def top(self, k: int) -> Sequence[DesignView]:
        """The k fittest, or as many as are rated."""
        return self.rated[:k]

    def quantile(self, q: float) -> DesignView | None:
        """The rated design below which a share `q` (0..1) stands; None when nothing is rated."""
        n = len(self.rated)
        return self.rated[min(n - 1, int((1.0 - q) * n))] if n else None

    def sample(self, rng: Random, n: int) -> tuple[DesignView, ...]:
        """At most n different eligible designs, all alike in chance."""
        pool = self._tree.ratings.by_confidence
        return tuple(self.get(pool[i]) for i in rng.sample(range(len(pool)), min(n, len(pool))))

    def youngest(self, n: int) -> Sequence[DesignView]:
        """The n eligible designs proposed last, the youngest first."""
        return Views(self._tree.ratings.by_age, self.get)[:n]

    def by_niche(self) -> Mapping[str, Sequence[DesignView]]:
        """Rated designs of each niche: the highest rung first, then the fittest."""
        niches = self._tree.ratings.niches
        return {name: Views(niches[name], self.get) for name in sorted(niches) if len(niches[name])}

    def rating_share(self, design: str) -> float | None:
        """Share of the rated designs that are fitter, 0 for the best; None when it is unrated."""
        return _share(self._tree.ratings.by_value, design)

    def confidence_share(self, design: str) -> float | None:
        """Share of the eligible designs that are more confident; None when it is not eligible."""
        return _share(self._tree.ratings.by_confidence, design)

    # --- what is new ---------------------------------------------------------------------------------------

    def record(self, design: str) -> DesignRecord:
        """All that the books hold about a design, its runs and their metrics with it.

        Raises:
            BookkeepingError: No such design.
        """
        return self._tree.record(design)

    def proposed(self, since: int = 0) -> tuple[str, ...]:
        """Ids in the order of their proposals, the first `since` left out; parents stand before their children."""
        records = cast(dict[str, DesignRecord], self._tree.records)  # read from the end: a call costs what is new
        return tuple(islice(reversed(records), max(0, len(records) - since)))[::-1]

    @property
    def n_commits(self) -> int:
        """First-seed verifications committed so far, at all scales together."""
        return len(self._tree.commits)

    def commits(self, since: int = 0) -> Sequence[str]:
        """Ids in the order of their first-seed commits, once for each scale, the first `since` left out."""
        return self._tree.commits[since:]

    def kept(self, key: Hashable, make: Callable[[], T]) -> T:
        """What a strategy keeps from call to call of one run: made at the first call in this process.

        It is not saved, so it must follow from the population alone: after a restart it is made anew, and the choices
        must not differ. Keep ids, never the population or its views.

        Args:
            key: The strategy itself serves.
        """
        kept = self._tree.ratings.kept
        if key not in kept:
            kept[key] = make()
        return cast(T, kept[key])

    def forget(self) -> None:
        """Drop all that was kept, because a call broke off in the middle."""
        self._tree.ratings.kept.clear()

    def rerated(self, since: Mark | None = None) -> tuple[Sequence[str], Mark]:
        """Ids whose fitness or eligibility may have changed since a mark, some of them repeatedly; and the mark to go on from.

        All that are rated, without a mark or when an axis has moved since, which happens a handful of times in a run.
        """
        ratings = self._tree.ratings
        mark = (ratings.n_axis_moves, len(ratings.moved))
        if since is None or since[0] != mark[0]:
            return tuple(ratings.by_value), mark
        return ratings.moved[since[1] :], mark

    def fitness(self, design: str) -> Mapping[str, Fitness]:
        """Its fitness at each scale at which it is rated, bottom first, without the cost of a view."""
        return self._tree.ratings.fitness(design)

    def value(self, design: str) -> float:
        """Its fitness at the highest scale at which it is rated, without the cost of a view; minus infinity when it is
        unrated or may not be a parent."""
        key = self._tree.ratings.by_value.key(design)
        return -inf if key is None else key[0]

    # --- the ladder ----------------------------------------------------------------------------------------

    @property
    def scales(self) -> tuple[str, ...]:
        """Bottom first."""
        return self._tree.scales

    @property
    def reference(self) -> str:
        return self._tree.reference

    def account(self, scale: str) -> Account:
        """Quota, reserved, committed and failed at a scale."""
        return self._tree.ledger.account(scale)

    def unverified(self, scale: str) -> Sequence[DesignView]:
        """Who may be verified there next: seeds then the oldest at the bottom, above the best of the rung below."""
        return Views(self._tree.waiting(scale), self.get)

    def at(self, scale: str) -> Sequence[DesignView]:
        """Designs rated at a scale, the fittest there first, whatever became of them later."""
        return Views(self._tree.ratings.by_scale[scale], self.get)

    def rank_at(self, scale: str, design: str, *, niche: str | None = None) -> tuple[int, int] | None:
        """How many are fitter at a scale, and of how many; within a niche if one is named. None when unrated."""
        ratings = self._tree.ratings
        ranking = ratings.by_scale[scale] if niche is None else ratings.niches_by_scale[scale].get(niche, Ranking())
        rank = ranking.rank(design)
        return None if rank is None else (rank, len(ranking))

    def running(self, scale: str) -> tuple[str, ...]:
        """Ids with an outstanding lease at a scale."""
        return tuple(self._tree.running(scale))


def _share(ranking: Ranking, design: str) -> float | None:
    rank = ranking.rank(design)
    return None if rank is None else rank / len(ranking)
