"""Operators, edits and places chosen by what they earned lately: a bandit over each of the three.

An arm wins when its design came out fitter than its best parent at the lowest scale that both were measured at. All
follows from the last commits, so that a restart changes nothing and a call costs the same for any number of designs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, is_dataclass, replace
from random import Random
from typing import TypeVar, cast

from genesys.evolution.attribution import gain_over_parents
from genesys.evolution.operators.mutation import edit_odds
from genesys.evolution.operators.proposal import Focus
from genesys.evolution.population import Population
from genesys.evolution.selection import Operator, OperatorRates, SelectionStrategy
from genesys.evolution.selection.base import N_PARENTS

Arm = TypeVar("Arm", bound=str)

WINDOW = 200
"""Commits that are looked at."""
DECAY = 0.98
"""Of an outcome's weight for each later one."""
LEAST_SHARE = 0.1
"""Of its fair share that an arm keeps, so that it is tried again."""
_N_DRAWS = 64


@dataclass(slots=True)
class Tally:
    """Decayed wins and losses of an arm."""

    won: float = 0.0
    lost: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Experience:
    """What the last commits say of each operator, edit and target path."""

    operators: Mapping[str, Tally]
    edits: Mapping[str, Tally]
    targets: Mapping[str, Tally]
    seed: str

    @staticmethod
    def of(population: Population) -> Experience:
        """Read the last commits, the latest the weightiest."""
        operators, edits, targets = dict[str, Tally](), dict[str, Tally](), dict[str, Tally]()
        recent = dict.fromkeys(population.commits(max(0, population.n_commits - WINDOW)))
        weight = 1.0
        for design in reversed(recent):
            record = population.record(design)
            gain = gain_over_parents(
                record.parents, population.get(design).fitness, lambda p: population.get(p).fitness
            )
            if gain is None:
                continue
            for arms, arm in ((operators, record.operator), (edits, record.edit), (targets, record.target)):
                found = arms.setdefault(arm, Tally())
                found.won += weight * (gain > 0)
                found.lost += weight * (gain <= 0)
            weight *= DECAY
        return Experience(operators=operators, edits=edits, targets=targets, seed=f"bandit/{population.n_commits}")


def lean_to_winners(odds: Mapping[Arm, float], tallies: Mapping[str, Tally], seed: str) -> dict[Arm, float]:
    """Odds of the same sum that favour the arms that are likely the best ones, each in proportion to that likelihood.

    Without any tally the odds stay. The likelihoods come from draws of each arm's chance to win, so that what is then
    drawn has odds that are known.

    Source: Thompson 1933, "On the likelihood that one unknown probability exceeds another"; Beta(1, 1) priors.
    """
    if not any(arm in tallies for arm in odds):
        return dict(odds)
    rng, arms = Random(seed), sorted(odds)
    n_best = dict.fromkeys(arms, 0)
    beliefs = [(arm, tallies.get(arm, Tally())) for arm in arms]
    for _ in range(_N_DRAWS):
        drawn = {arm: rng.betavariate(1.0 + tally.won, 1.0 + tally.lost) for arm, tally in beliefs}
        n_best[max(arms, key=drawn.__getitem__)] += 1
    weights = {arm: odds[arm] * max(LEAST_SHARE, n_best[arm] * len(arms) / _N_DRAWS) for arm in odds}
    scale = sum(odds.values()) / sum(weights.values())
    return {arm: weight * scale for arm, weight in weights.items()}


@dataclass(frozen=True, slots=True, kw_only=True)
class AdaptiveRates(OperatorRates):
    """Operator rates that start as given and lean to the operators that won lately; one without parents keeps its rate."""

    def odds(self, population: Population) -> dict[Operator, float]:
        given = OperatorRates.odds(self, population)
        judged = {operator: odds for operator, odds in given.items() if N_PARENTS[operator]}
        experience = Experience.of(population)
        return given | lean_to_winners(judged, experience.operators, experience.seed)


def adaptive_focus(population: Population) -> Focus:
    """Weights of edits and places by what they won lately; a place that was never changed stays at 1."""
    experience = Experience.of(population)
    return Focus(
        edits=lean_to_winners(edit_odds(Focus()), experience.edits, experience.seed),
        targets=lean_to_winners(dict.fromkeys(experience.targets, 1.0), experience.targets, experience.seed),
    )


def with_adaptive_rates(strategy: SelectionStrategy) -> SelectionStrategy:
    """A strategy whose operator rates adapt; one that has no `rates` is given back as it is."""
    rates = getattr(strategy, "rates", None)
    if not is_dataclass(strategy) or not isinstance(rates, OperatorRates):
        return strategy
    given = {f.name: getattr(rates, f.name) for f in fields(rates)}
    return cast(SelectionStrategy, replace(strategy, rates=AdaptiveRates(**given)))
