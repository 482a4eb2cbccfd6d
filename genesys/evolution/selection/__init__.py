"""Which designs the next one is made from."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, cast

from genesys.errors import ConfigError, suggest
from genesys.evolution.policy import resolve_strategy
from genesys.evolution.selection.adaptive import Adaptive
from genesys.evolution.selection.base import (
    OPERATORS,
    Operator,
    OperatorRates,
    Selection,
    SelectionStrategy,
    validate_selection,
)
from genesys.evolution.selection.greedy import Greedy
from genesys.evolution.selection.groups import Groups
from genesys.evolution.selection.islands import Islands
from genesys.evolution.selection.map_elites import MapElites
from genesys.evolution.selection.quadrant import QuadrantSelection
from genesys.evolution.selection.random import RandomSelection
from genesys.evolution.selection.regularized_evolution import RegularizedEvolution
from genesys.evolution.selection.safely import select_safely
from genesys.evolution.selection.tournament import Tournament
from genesys.evolution.selection.ucb import UpperConfidenceBound

SELECTIONS: Mapping[str, Callable[..., SelectionStrategy]] = {
    "adaptive": Adaptive,
    "greedy": Greedy,
    "islands": Islands,
    "map_elites": MapElites,
    "quadrant": QuadrantSelection,
    "random": RandomSelection,
    "regularized_evolution": RegularizedEvolution,
    "tournament": Tournament,
    "ucb": UpperConfidenceBound,
}


def resolve_selection(
    strategy: str | SelectionStrategy = "random", options: Mapping[str, Any] | None = None
) -> SelectionStrategy:
    """A selection strategy by name, by `module:Class`, or the object itself; ConfigError if there is none.

    `rates` among the options may be a mapping of `OperatorRates` fields.
    """
    given = dict(options or {})
    if isinstance(given.get("rates"), Mapping):
        given["rates"] = _rates(given["rates"])
    if not isinstance(given.get("rates", OperatorRates()), OperatorRates):
        raise ConfigError(
            f"Cannot use rates = {given['rates']!r} of selection strategy {strategy!r}: expected a mapping, such as "
            "{restart: 0.1}."
        )
    return cast(SelectionStrategy, resolve_strategy(strategy, given, known=SELECTIONS, method="select"))


def _rates(rates: Mapping[str, Any]) -> OperatorRates:
    """Operator rates from plain data; ConfigError for a key there is none of."""
    known = tuple(OperatorRates.__dataclass_fields__)
    for key in rates:
        if key not in known:
            raise ConfigError(f"Cannot set rate {key!r}; expected one of {', '.join(known)}.{suggest(key, known)}")
    return OperatorRates(**rates)


__all__ = [
    "OPERATORS",
    "SELECTIONS",
    "Adaptive",
    "Greedy",
    "Groups",
    "Islands",
    "MapElites",
    "Operator",
    "OperatorRates",
    "QuadrantSelection",
    "RandomSelection",
    "RegularizedEvolution",
    "Selection",
    "SelectionStrategy",
    "Tournament",
    "UpperConfidenceBound",
    "resolve_selection",
    "select_safely",
    "validate_selection",
]
