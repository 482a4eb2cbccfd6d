"""Calling a selection strategy so that the run goes on whatever it does."""

from __future__ import annotations

from random import Random

from genesys.evolution.events import PolicyFailed
from genesys.evolution.policy import STRATEGY_TIMEOUT_S, call_with_deadline, is_built_in
from genesys.evolution.population import Population
from genesys.evolution.selection.base import Selection, SelectionStrategy, validate_selection
from genesys.evolution.selection.random import RandomSelection


def select_safely(
    strategy: SelectionStrategy, population: Population, rng: Random, timeout_s: float = STRATEGY_TIMEOUT_S
) -> tuple[Selection, PolicyFailed | None]:
    """Ask a strategy; when it raises, overruns its time or answers nonsense, select by lot and say so.

    Returns:
        A valid selection, and the event to journal when the strategy had to be replaced.
    """
    limit = None if is_built_in(strategy) else timeout_s
    try:
        answer = call_with_deadline(lambda: strategy.select(population, rng=rng), limit)
        return validate_selection(answer, population), None
    except Exception as error:  # a strategy of somebody else's: whatever it does, the run goes on
        reason = f"{type(error).__name__}: {error}"
        population.forget()
        failure = PolicyFailed(policy="selection", strategy=type(strategy).__name__, reason=reason)
        return RandomSelection().select(population, rng=rng), failure
