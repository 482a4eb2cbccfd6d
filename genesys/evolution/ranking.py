"""Orders kept up to date: who is best at each scale, overall, by confidence, in a niche, and who waits for a rung."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Mapping, Sequence
from math import inf
from types import MappingProxyType
from typing import Any

from genesys.evolution.design import BookkeepingError, DesignRecord, DesignState, Run, confidence
from genesys.evolution.order import Entry
from genesys.evolution.order import Ranking as Ranking
from genesys.evolution.packed import PackedMetrics
from genesys.evolution.rating import Fitness, FitnessRule, Frame, Metrics, Rater, Rating, frame_of
from genesys.ladder.ledger import FIRST_SEED

_BATCH = 64
_ALIVE = (DesignState.IMPLEMENTED, DesignState.VERIFIED)


class Ratings:
    """Fitness of all designs of a run, and the orders that follow from it.

    A commit costs O(log n). The first result of the reference at a scale, and each seed's, moves a whole axis and
    costs O(n log n): a handful of times in a run.

    Args:
        rule: Rates; see `FitnessRule`.
        scales: Bottom first.
        reference: Id of the reference design; "" for none.
        records: The tree's own records, read here and never written, but that a run's metrics are packed once it is rated.
    """

    # `standing` and `by_scale` hold whoever was rated; the other orders only those that may still be parents

    def __init__(
        self, rule: FitnessRule, *, scales: Sequence[str], reference: str, records: Mapping[str, DesignRecord]
    ) -> None:
        self.rule = rule
        self._scales = tuple(scales)
        self._reference = reference
        self._records = records
        self._rungs = {scale: k for k, scale in enumerate(scales)}
        self._measured: dict[str, dict[str, None]] = {s: {} for s in scales}
        self._ratings: dict[str, dict[str, Rating]] = {s: {} for s in scales}
        self._gathered: list[tuple[DesignRecord, Run]] = []
        self._unchecked: list[Run] = []
        self._raters: dict[str, Rater] = {}  # of scales whose reference has not been measured since
        self._frames: dict[str, Frame] = {}
        self.by_scale = {s: Ranking() for s in scales}
        self.by_value = Ranking()
        self.by_confidence = Ranking()
        self.by_age = Ranking()
        self.standing = Ranking()
        self.niches: dict[str, Ranking] = defaultdict(Ranking)
        self.niches_by_scale: dict[str, dict[str, Ranking]] = {s: defaultdict(Ranking) for s in scales}
        self._niche: dict[str, str] = {}
        self._rung: dict[str, int] = {}
        self._seeds: dict[str, None] = {}
        self._gone: set[str] = set()
        # what strategies keep up to date for themselves, and what tells them how: see `Population.kept` and `.rerated`
        self.kept: dict[Hashable, Any] = {}
        self.n_axis_moves = 0
        self.moved: list[str] = []

    # --- writing (the tree only) ---------------------------------------------------------------------------

    def note(self, record: DesignRecord) -> None:
        """Take in a record whose state or runs have changed."""
        if record.state in _ALIVE:
            self.by_age.put(record.id, (record.order,))
            self.by_confidence.put(record.id, (confidence(record.state, self.rung(record.id)),))
        else:
            for ranking in (self.by_age, self.by_confidence, self.by_value, *self.niches.values()):
                ranking.discard(record.id)
            self._gone.add(record.id)
            self.moved.append(record.id)
            if record.id == self._reference:
                self._rate_all(self._scales)

    def measured(self, record: DesignRecord, run: Run) -> tuple[str, ...]:
        """Take in a commit; gives the ids whose rating changed."""
        scale = run.scale
        self._take_in(record, run)
        _pack(run)
        self.note(record)
        if record.id == self._reference:
            self._rate_all((scale,))
            return tuple(self._measured[scale])
        if record.is_seed:
            self._reframe()
        elif rated := [k for s, k in self._rungs.items() if record.id in self._ratings[s]]:
            self._place(record.id, rated[-1])
        return (record.id,)

    def check(self, lease: int, metrics: Metrics) -> None:
        """Raise BookkeepingError when a lease's result cannot be rated."""
        try:
            self.rule.check(metrics)
        except ValueError as error:
            raise BookkeepingError(f"Cannot record the verification under lease {lease}: {error}.") from error

    def gather(self, record: DesignRecord, run: Run, *, is_checked: bool = False) -> None:
        """Check and take in a commit, in a while; `restore` takes in what is left, and makes the orders."""
        self._gathered.append((record, run))
        if not is_checked:
            self._unchecked.append(run)
        if len(self._gathered) == _BATCH:  # one thing many times in a row takes half as long as when it alternates
            self._take_in_gathered()

    def _take_in_gathered(self) -> None:
        gathered, self._gathered = self._gathered, []
        unchecked, self._unchecked = self._unchecked, []
        for run in unchecked:
            self.check(run.lease, run.metrics)
        for record, run in gathered:
            self._take_in(record, run)
        for _, run in gathered:
            _pack(run)

    def _take_in(self, record: DesignRecord, run: Run) -> None:
        """Note what a commit's metrics tell at its scale."""
        design, scale = record.id, run.scale
        self._measured[scale][design] = None
        rung = self._rungs[scale]
        if rung > self._rung.get(design, -1):
            self._rung[design] = rung
        self._set_niche(record, self.rule.niche(run.metrics))
        if record.is_seed:
            self._seeds[design] = None
        if design == self._reference:
            self._raters.pop(scale, None)
            self._ratings[scale].clear()
        elif rate := self._rater(scale):
            rating = rate([run.metrics] if run.seed == FIRST_SEED else _metrics(record, scale))
            self._ratings[scale][design] = rating
            self.by_scale[scale].put(design, (rating.raw,))
            self.niches_by_scale[scale][self._niche[design]].put(design, (rating.raw,))

    def restore(self) -> None:
        """Make all orders, of records whose commits were gathered."""
        self._take_in_gathered()
        ages, points = dict[str, Entry](), dict[str, Entry]()
        points_at = {rung: confidence(DesignState.IMPLEMENTED, rung) for rung in range(-1, len(self._scales))}
        for design, record in self._records.items():
            if record.state in _ALIVE:
                ages[design] = record.order, design
                points[design] = points_at[self._rung.get(design, -1)], design
            elif record.state is not DesignState.PROPOSED:
                self.note(record)
        self.by_age.fill(ages)
        self.by_confidence.fill(points)
        self._rate_all(self._scales)

    def _rate_all(self, scales: Sequence[str]) -> None:
        """Rate whoever is not rated yet, and make the orders of these scales."""
        for scale in scales:
            ratings, rate = self._ratings[scale], self._rater(scale)
            if rate is None:
                continue
            entries: dict[str, Entry] = {}
            for design in [design for design in self._measured[scale] if design not in ratings]:
                rating = ratings[design] = rate(_metrics(self._records[design], scale))
                entries[design] = rating.raw, design
            self._fill_niches(self.niches_by_scale[scale], entries)
            self.by_scale[scale].fill(entries)
        self._reframe()

    def _fill_niches(self, rankings: Mapping[str, Ranking], entries: Mapping[str, Entry]) -> None:
        groups: dict[str, dict[str, Entry]] = defaultdict(dict)
        niches = self._niche
        for design, entry in entries.items():
            groups[niches[design]][design] = entry
        for niche, group in groups.items():
            rankings[niche].fill(group)

    def _rater(self, scale: str) -> Rater | None:
        """What rates there; None as long as the reference may still be measured, and the rule needs it."""
        rate = self._raters.get(scale)
        if rate is None and not (self.rule.needs_reference and self.awaits_reference(scale)):
            reference = self._records.get(self._reference)
            measured = _metrics(reference, scale) if reference else []
            rate = self._raters[scale] = self.rule.rater(measured or None)
        return rate

    def _reframe(self) -> None:
        below: Frame | None = None
        for scale in self._scales if self.rule.standardised else ():
            found = self._ratings[scale]
            seeds = [found[design] for design in self._seeds if design in found]
            below = self._frames[scale] = frame_of(found.get(self._reference), seeds, below)
        places: dict[str, Entry] = {}
        for rung, scale in enumerate(self._scales):  # the highest rung is the last
            value = self.frame(scale).value
            for design, rating in self._ratings[scale].items():
                places[design] = rung, value(rating.raw), design
        verified = {design: place for design, place in places.items() if design not in self._gone}
        self._fill_niches(self.niches, verified)
        self.by_value.fill({design: place[1:] for design, place in verified.items()})
        self.standing.fill(places)
        self.n_axis_moves += 1
        self.moved.clear()

    def _place(self, design: str, rung: int) -> None:
        """Put it where the fitness of the highest rung at which it is rated has it."""
        scale = self._scales[rung]
        value = self.frame(scale).value(self._ratings[scale][design].raw)
        self.standing.put(design, (rung, value))
        if self._records[design].state is DesignState.VERIFIED:
            self.by_value.put(design, (value,))
            self.moved.append(design)
            self.niches[self.niche(design)].put(design, (rung, value))

    def _set_niche(self, record: DesignRecord, now: str) -> None:
        """What its latest result that tells shows it to be; "" where none does."""
        before = self._niche.setdefault(record.id, now)
        if before == now or not now:
            return
        self._niche[record.id] = now
        self.niches[before].discard(record.id)
        for scale, rated in self._ratings.items():  # another one at every scale, as a restart would have it
            self.niches_by_scale[scale][before].discard(record.id)
            if record.id in rated:
                self.niches_by_scale[scale][now].put(record.id, (rated[record.id].raw,))

    # --- reading -------------------------------------------------------------------------------------------

    def awaits_reference(self, scale: str) -> bool:
        """Whether the reference has no result at a scale, yet may still get one."""
        if not self._reference or self._reference in self._measured[scale]:
            return False
        record = self._records.get(self._reference)
        return record is None or record.state in (
            DesignState.PROPOSED, DesignState.IMPLEMENTED, DesignState.VERIFIED,
        )  # fmt: skip

    @property
    def n_measured(self) -> int:
        """Designs measured at any scale."""
        return len(self._rung)

    def rung(self, design: str) -> int:
        """Index of the highest scale at which it is measured; -1 for none."""
        return self._rung.get(design, -1)

    def niche(self, design: str) -> str:
        return self._niche.get(design, "")

    def raw(self, design: str, scale: str) -> float:
        """The rating before standardisation; minus infinity when it is unrated there."""
        rating = self._ratings[scale].get(design)
        return -inf if rating is None else rating.raw

    def fitness_at(self, design: str, scale: str) -> Fitness | None:
        rating = self._ratings[scale].get(design)
        return None if rating is None else self.frame(scale).place(rating)

    def frame(self, scale: str) -> Frame:
        """The axis of a scale."""
        return self._frames.get(scale, Frame())

    def fitness(self, design: str) -> Mapping[str, Fitness]:
        """Fitness by scale, bottom first, where it is rated."""
        found = ((scale, self.fitness_at(design, scale)) for scale in self._scales)
        return MappingProxyType({scale: fitness for scale, fitness in found if fitness is not None})


def _pack(run: Run) -> None:
    object.__setattr__(run, "metrics", PackedMetrics(run.metrics))  # nobody has seen it yet


def _metrics(record: DesignRecord, scale: str) -> list[Metrics]:
    return [run.metrics for run in record.runs if run.scale == scale and run.outcome == "committed"]
