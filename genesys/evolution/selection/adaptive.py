"""Adaptive selection: islands that explore the more, the less they improve."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from math import inf, log, sqrt
from random import Random

from genesys.errors import ConfigError
from genesys.evolution.design import DesignView
from genesys.evolution.population import Population
from genesys.evolution.selection.base import OperatorRates, Selection, fitter_of_two, n_first
from genesys.evolution.selection.islands import SEEDS, Archipelago, check_islands


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """What an island's latest designs gained over their parents, as decayed means, the latest the weightiest.

    Attributes:
        signal: Of the squared gains.
        reward: Of the gains.
    """

    signal: float = 0.0
    reward: float = 0.0

    def after(self, gain: float, decay: float) -> Progress:
        """With one more design."""
        return Progress(
            signal=decay * self.signal + (1 - decay) * gain**2, reward=decay * self.reward + (1 - decay) * gain
        )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Adaptive:
    """An island by upper confidence bound on its decayed gains; there a parent by lot (explore) or among the best (exploit).

    The probability to explore is `least + (most - least) / (1 + sqrt(signal))`: an island that improves is exploited, one
    that stands still is explored. A gain is what a design measured above its best parent at the highest scale that both
    reached, 0 if it is worse; in the unit of fitness. All follows from the last `window` proposals and commits as they are
    rated now: the cost is bounded, and nothing needs to be remembered.

    Attributes:
        n, migration: As of `Islands`.
        least, most: Bounds of the probability to explore.
        decay: Of gains, for each later design of the island.
        c: Weight of the bonus for islands with few of the last proposals.
        window: Proposals and commits looked at.

    Source: AdaEvolve (Cemri et al. 2026, arXiv 2602.20133), levels 1 and 2, with its constants; gains are over parents, not
    over the island's best at the time, and nothing is asked of a language model.
    """

    n: int = 4
    migration: float = 0.05
    least: float = 0.15
    most: float = 0.5
    decay: float = 0.9
    c: float = 1.0
    window: int = 100
    rates: OperatorRates = field(default_factory=OperatorRates)

    def __post_init__(self) -> None:
        check_islands(self.n, self.migration)
        if not 0 <= self.least <= self.most <= 1 or not 0 <= self.decay < 1 or not self.c >= 0 or self.window < 1:
            raise ConfigError(
                f"Cannot adapt with least {self.least}, most {self.most}, decay {self.decay}, c {self.c} and window "
                f"{self.window}; expected 0 <= least <= most <= 1, 0 <= decay < 1, c >= 0 and window >= 1."
            )

    def select(self, population: Population, *, rng: Random) -> Selection:
        islands = Archipelago.of(population, self, self.n, self.migration)
        progress = self.progress(population, islands)
        island = self._island(population, islands, progress, rng)
        intensity = self.intensity(progress.get(island, Progress()))
        exploring = rng.random() < intensity
        reason = f"island {island}: {'explore' if exploring else 'exploit'} (exploring {intensity:.0%})"
        return self.rates.plan(population, rng, lambda: _parent(population, islands, island, exploring, rng), reason)

    def progress(self, population: Population, islands: Archipelago) -> dict[int, Progress]:
        """What each island gained lately."""
        found: dict[int, Progress] = {}
        for design in dict.fromkeys(population.commits(max(0, population.n_commits - self.window))):
            island = islands.home(design)
            if island != SEEDS:
                found[island] = found.get(island, Progress()).after(_gain(population, design), self.decay)
        return found

    def intensity(self, progress: Progress) -> float:
        """The probability to explore."""
        return self.least + (self.most - self.least) / (1 + sqrt(progress.signal))

    def _island(
        self, population: Population, islands: Archipelago, progress: Mapping[int, Progress], rng: Random
    ) -> int:
        proposed = Counter(map(islands.home, population.proposed(max(0, len(population) - self.window))))
        total = sum(p.reward for p in progress.values()) or 1.0

        def bound(island: int) -> float:
            if not proposed[island]:
                return inf
            bonus = sqrt(log(proposed.total()) / proposed[island])
            return progress.get(island, Progress()).reward / total + self.c * bonus

        inhabited = islands.inhabited()
        return max(rng.sample(inhabited, len(inhabited)), key=bound)  # a tie goes to the first, so by lot


def _parent(population: Population, islands: Archipelago, island: int, exploring: bool, rng: Random) -> DesignView:
    """Anyone who lives there, or one of the best quarter, ties with its last included, the fitter the likelier."""
    ranked = islands.ranked(island) or islands.ranked(SEEDS)
    if exploring or not ranked:
        design = islands.draw(island, rng)
        return population.sample(rng, 1)[0] if design is None else population.get(design)
    best = n_first(ranked, 0.25, population.value)
    return fitter_of_two(lambda: population.get(ranked[rng.randrange(best)]))


def _gain(population: Population, design: str) -> float:
    own = population.fitness(design)
    theirs = [population.fitness(parent) for parent in population.record(design).parents]
    for scale in reversed(tuple(own)):
        values = [fitness[scale].value for fitness in theirs if scale in fitness]
        if values:
            return max(0.0, own[scale].value - max(values))
    return 0.0
