"""What each operator and edit earned: gains over parents with intervals, and how far the steps went.

Operators are drawn by lot, at odds that change during a run and are journaled with each design. A gain is weighted by
the inverse of its operator's odds, so that an operator which was drawn more often in easy times gets no credit for them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import floor, sqrt
from statistics import fmean

from genesys.evolution.design import DesignRecord, DesignState
from genesys.evolution.inference import t_quantile
from genesys.evolution.rating import Fitness
from genesys.evolution.tree import EvolutionTree

N_STEP_GROUPS = 3
_SANE = frozenset(DesignState) - {DesignState.PROPOSED, DesignState.REJECTED}


@dataclass(frozen=True, slots=True, kw_only=True)
class Effect:
    """What a group of designs with parents came to; fitness is that of one scale.

    Attributes:
        n_proposed, n_sane, n_twins: Of the group's designs; twins are sane and inherit their results.
        n: Those that are rated, and a parent of theirs, too.
        n_better: Those above their best parent.
        gain: Mean of child minus best parent, weighted by the inverse odds; None for none.
        low, high: 95% interval of it (Student's t at the effective number of designs); None below two.
        n_effective: Equally weighted designs that would tell as much (Kish).
        steps: Mean of each distance that was measured.
    """

    name: str
    n_proposed: int
    n_sane: int
    n_twins: int
    n: int
    n_better: int
    gain: float | None
    low: float | None
    high: float | None
    n_effective: float
    steps: Mapping[str, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Attribution:
    """What a run's operators did, as rated at one scale.

    Attributes:
        operators, edits: By name; edits as `operator/edit`.
        step_groups: By the distance to the parents in the tree, in thirds of the rated designs.
    """

    scale: str
    operators: tuple[Effect, ...]
    edits: tuple[Effect, ...]
    step_groups: tuple[Effect, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Child:
    """One design with what it gained; None where it or its parents are not rated at the scale."""

    record: DesignRecord
    gain: float | None

    def weight(self, arm: str) -> float:
        """Inverse probability that it was made by what it was made by; 1 where no odds were noted."""
        odds = self.record.odds
        return 1.0 / (odds.get(arm) or odds.get(self.record.operator) or 1.0)


def attribute(tree: EvolutionTree, scale: str | None = None) -> Attribution:
    """What each operator and edit earned in a run.

    Designs are compared at the bottom by default: who climbs was chosen by fitness, so that gains higher up are those of
    the lucky. Not covered: that designs share parents, for which intervals are a little too narrow.
    """
    where = scale or tree.scales[0]
    children = [_child(tree, record, where) for record in tree if not record.is_seed and record.operator != "given"]
    return Attribution(
        scale=where,
        operators=_effects(children, lambda c: c.record.operator),
        edits=_effects(children, lambda c: f"{c.record.operator}/{c.record.edit}" if c.record.edit else ""),
        step_groups=_by_step(children),
    )


def gain_over_parents(
    parents: Sequence[str],
    own: Mapping[str, Fitness],
    fitness_of: Callable[[str], Mapping[str, Fitness]],
    scale: str | None = None,
) -> float | None:
    """A design's fitness minus that of its best parent, at a scale, or at the lowest that it shares with a parent.

    Returns:
        None without a scale at which both are rated.
    """
    theirs = [fitness_of(parent) for parent in dict.fromkeys(parents)]
    for name in own if scale is None else [s for s in own if s == scale]:
        values = [fitness[name].value for fitness in theirs if name in fitness]
        if values:
            return own[name].value - max(values)
    return None


def _child(tree: EvolutionTree, record: DesignRecord, scale: str) -> _Child:
    def fitness_of(design: str) -> Mapping[str, Fitness]:
        return tree.ratings.fitness(design)

    own = fitness_of(record.inherited_from or record.id)
    return _Child(record=record, gain=gain_over_parents(record.parents, own, fitness_of, scale))


def _effects(children: Iterable[_Child], name_of: Callable[[_Child], str]) -> tuple[Effect, ...]:
    groups: dict[str, list[_Child]] = {}
    for child in children:
        groups.setdefault(name_of(child), []).append(child)
    return tuple(_effect(name, groups[name]) for name in sorted(groups) if name)


def _by_step(children: Sequence[_Child]) -> tuple[Effect, ...]:
    """Rated designs in thirds by their step in the tree; equal steps stay together."""
    rated = [c for c in children if c.gain is not None and "tree" in c.record.steps]
    steps = sorted(c.record.steps["tree"] for c in rated)
    tops = sorted(
        {steps[floor((k + 1) * len(steps) / N_STEP_GROUPS) - 1] for k in range(N_STEP_GROUPS)} if steps else ()
    )
    found, below = [], -1.0
    for top in tops:
        group = [c for c in rated if below < c.record.steps["tree"] <= top]
        found.append(_effect(f"up to {top:g}" if below < 0 else f"{below:g} to {top:g}", group))
        below = top
    return tuple(found)


def _effect(name: str, group: Sequence[_Child]) -> Effect:
    rated = [(child.gain, child.weight(name)) for child in group if child.gain is not None]
    gain, error, n_effective = _weighted_mean(rated)
    half = None if error is None else t_quantile(max(1, round(n_effective) - 1)) * error
    return Effect(
        name=name, n_proposed=len(group), n_sane=sum(c.record.state in _SANE for c in group),
        n_twins=sum(c.record.state is DesignState.TWIN for c in group), n=len(rated),
        n_better=sum(gain > 0 for gain, _ in rated), gain=gain,
        low=None if gain is None or half is None else gain - half,
        high=None if gain is None or half is None else gain + half,
        n_effective=n_effective, steps=_mean_steps(group),
    )  # fmt: skip


def _weighted_mean(values: Sequence[tuple[float, float]]) -> tuple[float | None, float | None, float]:
    """Mean of (value, weight), its standard error (None below two), and the effective number.

    Source: Hájek 1971; the error by linearisation, scaled for the effective number (Kish 1965).
    """
    total = sum(weight for _, weight in values)
    if not values:
        return None, None, 0.0
    mean = sum(value * weight for value, weight in values) / total
    n_effective = total**2 / sum(weight**2 for _, weight in values)
    if len(values) < 2:
        return mean, None, n_effective
    squares = sum((weight * (value - mean)) ** 2 for value, weight in values)
    return mean, sqrt(squares) / total * sqrt(len(values) / (len(values) - 1)), n_effective


def _mean_steps(group: Sequence[_Child]) -> dict[str, float]:
    names = sorted({name for child in group for name in child.record.steps})
    return {name: fmean(c.record.steps[name] for c in group if name in c.record.steps) for name in names}
