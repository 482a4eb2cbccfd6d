"""MAP-Elites: the best design of every kind."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import floor, log2
from random import Random
from typing import TYPE_CHECKING

from genesys.errors import ConfigError
from genesys.evolution.design import DesignRecord, DesignView
from genesys.evolution.population import Population
from genesys.evolution.selection.base import OperatorRates, Selection, n_first
from genesys.evolution.selection.groups import Groups

if TYPE_CHECKING:
    from genesys.evolution.tree import EvolutionTree

Cell = tuple[int | None, ...]

DESCRIPTORS: Mapping[str, Sequence[float]] = {
    "probe_recall": (0.25, 0.5, 0.75, 0.9), "flops_per_token": (), "state_size": (),
}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class MapElites:
    """The fittest design of a cell drawn by lot; cells part the designs by what they are, not by how good they are.

    A design's cell is told by the metrics of its first verification, so by those of the lowest scale, at which all of
    them are measured. It is the elite while it is the fittest there now, each by its highest scale; by lot
    among those tied.

    Attributes:
        descriptors: By name of a metric, the edges between its bins; without edges, bins of half an octave. A metric
            that a design lacks is a bin of its own, so that one that nobody has makes no difference.

    Source: Mouret & Clune 2015 (arXiv 1504.04909).
    """

    descriptors: Mapping[str, Sequence[float]] = field(default_factory=lambda: dict(DESCRIPTORS))
    rates: OperatorRates = field(default_factory=OperatorRates)

    def __post_init__(self) -> None:
        if not isinstance(self.descriptors, Mapping):
            raise ConfigError(
                f"Cannot part designs by descriptors {self.descriptors!r}; expected metrics with their edges, such as "
                "{probe_recall: [0.25, 0.5]}."
            )
        for name, edges in self.descriptors.items():
            if not isinstance(edges, (list, tuple)) or not all(isinstance(edge, (int, float)) for edge in edges):
                raise ConfigError(f"Cannot part designs by {name!r} at {edges!r}; expected a list of numbers.")
            if list(edges) != sorted(edges):
                raise ConfigError(f"Cannot part designs by {name!r} at {list(edges)}; expected rising edges.")

    def select(self, population: Population, *, rng: Random) -> Selection:
        cells = population.kept(self, lambda: Groups(self.cell_of)).read(population)
        names = sorted(cells, key=repr)

        def elite() -> DesignView:
            if not names:
                return population.sample(rng, 1)[0]
            cell = cells[rng.choice(names)]
            return population.get(cell[rng.randrange(n_first(cell, 0.0, population.value))])

        return self.rates.plan(population, rng, elite, f"elite of one of {len(names)} cells")

    def cell_of(self, record: DesignRecord) -> Cell:
        """The cell of a verified design."""
        metrics = next(run.metrics for run in record.runs if run.outcome == "committed")
        return tuple(_bin(metrics.get(name), edges) for name, edges in self.descriptors.items())


def unmeasured(tree: EvolutionTree) -> tuple[str, ...]:
    """Descriptors that the run's configuration names and none of its rated designs has; none while nothing is rated."""
    selection = tree.run.config.get("selection") if tree.run else None
    options = selection.get("options", {}) if isinstance(selection, Mapping) else {}
    rated = tree.population().rated
    return tuple(
        name
        for name in options.get("descriptors", ())
        if len(rated) and not any(name in run.metrics for view in rated for run in tree.record(view.id).runs)
    )


def _bin(value: float | None, edges: Sequence[float]) -> int | None:
    if value is None or (not edges and value <= 0):
        return None
    return bisect_right(edges, value) if edges else floor(2 * log2(value))
