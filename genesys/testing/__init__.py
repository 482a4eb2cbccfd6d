"""Builders and conformance suites, for our tests and for those who extend Genesys. The suites need pytest."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from genesys.testing.books import add_design, climb, make_population, metrics_for, start_tree, verify
    from genesys.testing.journals import JournalTestCase
    from genesys.testing.selection import SelectionStrategyTestCase
    from genesys.testing.strategies import PromotionStrategyTestCase
from genesys.testing.treasury import TreasuryTestCase

__all__ = [
    "JournalTestCase",
    "PromotionStrategyTestCase",
    "SelectionStrategyTestCase",
    "TreasuryTestCase",
    "add_design",
    "climb",
    "make_population",
    "metrics_for",
    "start_tree",
    "verify",
]

_SUITES = {
    "JournalTestCase": "journals",
    "PromotionStrategyTestCase": "strategies",
    "SelectionStrategyTestCase": "selection",
}


def __getattr__(name: str) -> Any:
    """Import what is asked for, so that the scripted model runs where pytest is not installed."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_SUITES.get(name, 'books')}"), name)
