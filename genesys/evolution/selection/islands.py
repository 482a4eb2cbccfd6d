"""Islands: populations that evolve apart, with migration between neighbours."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, field
from random import Random
from zlib import crc32

from genesys.errors import ConfigError
from genesys.evolution.design import DesignRecord, DesignView
from genesys.evolution.population import Population
from genesys.evolution.ranking import Ranking
from genesys.evolution.selection.base import OperatorRates, Selection, value_of
from genesys.evolution.selection.groups import Groups

SEEDS = -1
"""The island of the seeds, which live on every other one."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Islands:
    """Tournaments within one island drawn by lot. Seeds live on all islands.

    Where a design lives follows from its ancestry alone, so that a restart finds all as it was: a design from scratch,
    or with nothing but seeds for parents, founds a lineage on the islands in turn; any other lives with its last
    parent that is no seed, or, with a probability, on the next island of the ring. Its descendants then live there too.

    Attributes:
        n: Islands.
        migration: Probability that a child lives on the next island; fixed for a design, it is drawn from its id.
        size: Contestants of a tournament.

    Source: Tanese 1989, "Distributed genetic algorithms" (ring); islands seeded alike as in FunSearch (Romera-Paredes et
    al. 2024), whose resets are left out.
    """

    n: int = 4
    migration: float = 0.05
    size: int = 4
    rates: OperatorRates = field(default_factory=OperatorRates)

    def __post_init__(self) -> None:
        check_islands(self.n, self.migration)
        if self.size < 1:
            raise ConfigError(f"Cannot hold tournaments of size {self.size}; expected size >= 1.")

    def select(self, population: Population, *, rng: Random) -> Selection:
        islands = Archipelago.of(population, self, self.n, self.migration)
        island = rng.choice(islands.inhabited())
        return self.rates.plan(
            population, rng, lambda: self._winner(population, islands, island, rng), f"island {island}"
        )

    def _winner(self, population: Population, islands: Archipelago, island: int, rng: Random) -> DesignView:
        draws = [islands.draw(island, rng) for _ in range(self.size)]
        contestants = [population.get(design) for design in draws if design is not None]
        return max(contestants, key=value_of) if contestants else population.sample(rng, 1)[0]


def check_islands(n: int, migration: float) -> None:
    """Raise ConfigError for what no archipelago can be."""
    if n < 1 or not 0 <= migration <= 1:
        raise ConfigError(f"Cannot keep {n} islands with migration {migration}; expected n >= 1 and migration in 0..1.")


class Archipelago:
    """Who lives on which island: a strategy's memory, which follows from the population alone."""

    def __init__(self, n: int, migration: float) -> None:
        self._n = n
        self._migration = migration
        self._home: dict[str, int] = {}
        self._groups = Groups(lambda record: self._home[record.id])
        self._rated: dict[int, Ranking] = {}

    @classmethod
    def of(cls, population: Population, key: Hashable, n: int, migration: float) -> Archipelago:
        """The one kept for a strategy, as things stand now."""
        islands = population.kept(key, lambda: cls(n, migration))
        islands.settle(population)
        return islands

    def settle(self, population: Population) -> None:
        """Take in what is new in the population."""
        for design in population.proposed(len(self._home)):
            self._home[design] = self._home_of(population.record(design))
        self._rated = self._groups.read(population)

    def _home_of(self, record: DesignRecord) -> int:
        if record.is_seed:
            return SEEDS
        home = next((self._home[p] for p in reversed(record.parents) if self._home[p] != SEEDS), None)
        if home is None:
            return record.order % self._n
        leaves = crc32(record.id.encode()) < self._migration * 2**32
        return (home + leaves) % self._n

    def home(self, design: str) -> int:
        """The island of a design; `SEEDS` for a seed."""
        return self._home[design]

    def inhabited(self) -> list[int]:
        """The islands with rated designs of their own; all of them while there is none."""
        return sorted(self._rated.keys() - {SEEDS}) or list(range(self._n))

    def ranked(self, island: int) -> Ranking:
        """The rated designs of an island, the fittest first, seeds left out."""
        return self._rated.get(island) or Ranking()

    def draw(self, island: int, rng: Random) -> str | None:
        """Anyone rated who lives on an island, seeds among them, all alike in chance; None when there is nobody."""
        own, seeds = self.ranked(island), self.ranked(SEEDS)
        if not len(own) + len(seeds):
            return None
        place = rng.randrange(len(own) + len(seeds))
        return own[place] if place < len(own) else seeds[place - len(own)]
