"""Rated designs in groups of a strategy's own, kept in order from call to call."""

from __future__ import annotations

from collections.abc import Callable
from math import inf
from typing import Generic, TypeVar

from genesys.evolution.design import DesignRecord
from genesys.evolution.population import Mark, Population
from genesys.evolution.ranking import Ranking

G = TypeVar("G")


class Groups(Generic[G]):
    """The eligible, rated designs of each group, the fittest first. A call costs what has changed since the last one.

    Keep it with `population.kept`. Its state is a function of the population alone.

    Args:
        group_of: The group of a verified design, always the same for a design.
    """

    def __init__(self, group_of: Callable[[DesignRecord], G]) -> None:
        self._group_of = group_of
        self._groups: dict[str, G] = {}
        self._rankings: dict[G, Ranking] = {}
        self._mark: Mark | None = None

    def read(self, population: Population) -> dict[G, Ranking]:
        """The groups as they stand now; none is empty. Its order tells nothing."""
        changed, mark = population.rerated(self._mark)
        if self._mark is not None and self._mark[0] != mark[0]:
            self._rankings.clear()
        for design in changed:
            self._put(population, design)
        self._mark = mark
        return {group: ranking for group, ranking in self._rankings.items() if len(ranking)}

    def _put(self, population: Population, design: str) -> None:
        value = population.value(design)
        if value == -inf:
            if design in self._groups:
                self._rankings[self._groups[design]].discard(design)
            return
        if design not in self._groups:
            self._groups[design] = self._group_of(population.record(design))
        self._rankings.setdefault(self._groups[design], Ranking()).put(design, (value,))
