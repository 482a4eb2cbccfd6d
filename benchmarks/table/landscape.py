"""One alphabet of the table as a landscape: what each design is worth, what its verifications gave, how far apart designs lie."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import combinations, product
from random import Random
from statistics import fmean

from benchmarks.table.rows import Row
from genesys.evolution.fitness import RelativeFitness
from genesys.gau import UnitTree
from genesys.gau.distance import tree_distance
from genesys.gau.library import seed_design

RULE = RelativeFitness()
REFERENCE = seed_design("gpt").design_id


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """One design of a landscape.

    Attributes:
        runs: By rung, then one row a training seed. A design that failed on a rung has no rung above it.
        value: Raw fitness at the top rung over all its seeds there; minus infinity for one that failed on the way.
    """

    id: str
    name: str
    tree: UnitTree
    runs: tuple[tuple[Row, ...], ...]
    value: float


@dataclass(frozen=True)
class Landscape:
    """The designs of an alphabet that are whole: verified with every seed on every rung, or failed on one.

    Attributes:
        distances: Relative tree distance of each two designs by their ids, both ways round.
    """

    alphabet: str
    places: Mapping[str, Place]
    distances: Mapping[tuple[str, str], float]
    n_rungs: int
    n_seeds: int

    @cached_property
    def values(self) -> dict[str, float]:
        """Values of the designs that have one."""
        return {p.id: p.value for p in self.places.values() if p.value > float("-inf")}

    @property
    def best(self) -> float:
        """The highest value there is."""
        return max(self.values.values())


def landscape(rows: Sequence[Row], alphabet: str, *, n_rungs: int, n_seeds: int) -> Landscape:
    """The landscape of an alphabet, from the first so many rungs and seeds of the table.

    Raises:
        ValueError: The reference is not whole yet.
    """
    firsts = {row.design: row for row in rows if alphabet in row.alphabets}
    whole = _whole(rows, alphabet, n_rungs, n_seeds)
    if len(whole.get(REFERENCE, ())) < n_rungs:
        raise ValueError(f"Cannot lay out alphabet {alphabet!r}: its reference lacks rows on {n_rungs} rungs.")
    reference = [row.metrics for row in whole[REFERENCE][-1]]
    flops = [fmean(row.flops for row in runs) for runs in whole[REFERENCE]]
    whole = {design: tuple(_costed(runs[k], flops[k]) for k in range(len(runs))) for design, runs in whole.items()}
    places = {}
    for design, runs in whole.items():
        row = firsts[design]
        top = [r.metrics for r in runs[-1] if r.outcome == "committed"] if len(runs) == n_rungs else []
        value = RULE.rater(reference)(top).raw if len(top) == n_seeds else float("-inf")
        places[design] = Place(
            id=design, name=row.name, tree=UnitTree.from_json(json.loads(row.tree)), runs=runs, value=value
        )  # fmt: skip
    return Landscape(alphabet, places, _distances(places), n_rungs, n_seeds)


def extent(rows: Sequence[Row], alphabets: Sequence[str]) -> tuple[int, int]:
    """The most rungs and training seeds at which half of each alphabet's designs are whole, the reference among them.

    Returns:
        Rungs and seeds; more rungs go before more seeds. (1, 1) where there is not even that.
    """
    n_rungs, n_seeds = (1 + max((getattr(row, axis) for row in rows), default=0) for axis in ("rung", "seed"))
    sizes = sorted(product(range(1, n_rungs + 1), range(1, n_seeds + 1)), key=lambda size: (size[0] * size[1], size[0]))
    designs = {a: {row.design for row in rows if a in row.alphabets} for a in alphabets}

    def is_filled(alphabet: str, size: tuple[int, int]) -> bool:
        whole = _whole(rows, alphabet, *size)
        return len(whole.get(REFERENCE, ())) == size[0] and 2 * len(whole) >= len(designs[alphabet])

    return next((size for size in reversed(sizes) if all(is_filled(a, size) for a in alphabets)), (1, 1))


def _whole(rows: Sequence[Row], alphabet: str, n_rungs: int, n_seeds: int) -> dict[str, tuple[tuple[Row, ...], ...]]:
    """The runs of an alphabet's designs that are whole."""
    by_key = {row.key: row for row in rows if alphabet in row.alphabets}
    designs = dict.fromkeys(row.design for row in by_key.values())
    return {design: runs for design in designs if (runs := _runs(by_key, design, n_rungs, n_seeds))}


def _runs(
    by_key: Mapping[tuple[str, int, int], Row], design: str, n_rungs: int, n_seeds: int
) -> tuple[tuple[Row, ...], ...]:
    """A design's rows by rung, up to the one where it failed; () while some are missing."""
    rungs = []
    for rung in range(n_rungs):
        found = tuple(by_key[key] for s in range(n_seeds) if (key := (design, rung, s)) in by_key)
        rungs.append(found)
        if any(row.outcome == "failed" for row in found):
            break
        if len(found) < n_seeds:
            return ()
    return tuple(rungs)


def _costed(rows: Sequence[Row], flops: float) -> tuple[Row, ...]:
    """Rows without a count of FLOPs, those that failed, with the reference's."""
    return tuple(row if row.flops else replace(row, flops=flops) for row in rows)


def relative_distance(a: UnitTree, b: UnitTree) -> float:
    """Tree distance as a share of both sizes, in 0..1: without that a small design is near to every other one.

    Source: Yujian and Bo 2007, "A Normalized Levenshtein Distance Metric", which keeps the triangle inequality.
    """
    edits = tree_distance(a, b)
    return 2.0 * edits / (sum(1 for _ in a.walk()) + sum(1 for _ in b.walk()) + edits)


def _distances(places: Mapping[str, Place]) -> dict[tuple[str, str], float]:
    found = dict.fromkeys(((design, design) for design in places), 0.0)
    for a, b in combinations(places.values(), 2):
        found[a.id, b.id] = found[b.id, a.id] = relative_distance(a.tree, b.tree)
    return found


@dataclass(frozen=True, slots=True, kw_only=True)
class Smoothness:
    """Whether near designs are alike in value: if not, no choice of parents can help.

    Attributes:
        correlation: Of the distance of two designs with the difference of their values, by ranks, over all pairs.
        p_correlation: Share of random relabellings of the designs with a correlation as large.
        nearest_gap, any_gap: Mean difference in value to the few nearest other designs, and to any.
        p_nearest: Share of random relabellings with a `nearest_gap` as small.
    """

    correlation: float
    p_correlation: float
    nearest_gap: float
    any_gap: float
    p_nearest: float


def smoothness(land: Landscape, *, n_near: int = 3, n_permutations: int = 500, seed: int = 0) -> Smoothness:
    """Measure the smoothness of a landscape.

    Source: Mantel 1967, "The detection of disease clustering and a generalized regression approach".
    """
    ids = sorted(land.values)
    pairs = list(combinations(range(len(ids)), 2))
    distances = _ranks([land.distances[ids[i], ids[j]] for i, j in pairs])
    values = [land.values[design] for design in ids]
    near = [
        sorted((j for j in range(len(ids)) if j != i), key=lambda j: land.distances[ids[i], ids[j]])[:n_near]
        for i in range(len(ids))
    ]

    def correlation(order: Sequence[int]) -> float:
        return _correlation(distances, _ranks([abs(values[order[i]] - values[order[j]]) for i, j in pairs]))

    def gap(order: Sequence[int]) -> float:
        return fmean(abs(values[order[i]] - values[order[j]]) for i, others in enumerate(near) for j in others)

    found, rng = range(len(ids)), Random(seed)
    orders = [rng.sample(found, len(ids)) for _ in range(n_permutations)]
    return Smoothness(
        correlation=correlation(found),
        p_correlation=(1 + sum(correlation(order) >= correlation(found) for order in orders)) / (1 + n_permutations),
        nearest_gap=gap(found),
        any_gap=fmean(abs(values[i] - values[j]) for i, j in pairs),
        p_nearest=(1 + sum(gap(order) <= gap(found) for order in orders)) / (1 + n_permutations),
    )


def decision_accuracy(land: Landscape, rung: int, *, n_boot: int = 500, seed: int = 0) -> tuple[float, float, float]:
    """How often two designs stand on a rung, with one training seed, as on the top rung with other seeds.

    Returns:
        Share of all pairs, and its 95% interval by resampling designs. On the top rung itself it is what chance in the
        training seed leaves. A tie counts half.
    """
    ids, reference = sorted(land.values), land.places[REFERENCE].runs
    low = [_by_seed(land, design, rung, reference) for design in ids]
    top = [_by_seed(land, design, land.n_rungs - 1, reference) for design in ids]
    right = {
        (i, j): fmean(
            _agree(low[i][s] - low[j][s], fmean(top[i][t] - top[j][t] for t in _others(s, land.n_seeds)))
            for s in range(land.n_seeds)
        )
        for i, j in combinations(range(len(ids)), 2)
    }
    rng, means = Random(seed), []
    for _ in range(n_boot):
        drawn = sorted(rng.choices(range(len(ids)), k=len(ids)))
        means.append(fmean(right[i, j] for i, j in combinations(drawn, 2) if i != j))
    means.sort()
    return fmean(right.values()), means[int(0.025 * n_boot)], means[int(0.975 * n_boot)]


def _by_seed(land: Landscape, design: str, rung: int, reference: Sequence[Sequence[Row]]) -> list[float]:
    rows = land.places[design].runs[rung]
    return [RULE.rater([ref.metrics])([row.metrics]).raw for row, ref in zip(rows, reference[rung], strict=True)]


def _others(seed: int, n: int) -> list[int]:
    """The other training seeds; the seed itself where it is the only one."""
    return [t for t in range(n) if t != seed] or [seed]


def _agree(a: float, b: float) -> float:
    return 0.5 if a * b == 0.0 else float(a * b > 0.0)


def _ranks(numbers: Sequence[float]) -> list[float]:
    """Ranks from 0, tied ones sharing their mean."""
    order = sorted(range(len(numbers)), key=numbers.__getitem__)
    ranks, first = [0.0] * len(numbers), 0
    while first < len(order):
        last = first
        while last + 1 < len(order) and numbers[order[last + 1]] == numbers[order[first]]:
            last += 1
        for k in range(first, last + 1):
            ranks[order[k]] = (first + last) / 2.0
        first = last + 1
    return ranks


def _correlation(a: Sequence[float], b: Sequence[float]) -> float:
    mean_a, mean_b = fmean(a), fmean(b)
    products = sum((x - mean_a) * (y - mean_b) for x, y in zip(a, b, strict=True))
    squares = sum((x - mean_a) ** 2 for x in a) * sum((y - mean_b) ** 2 for y in b)
    return products / squares**0.5 if squares else 0.0
