"""Builders and conformance suites, for our tests and for those who extend Genesys. Needs pytest."""

from genesys.testing.books import add_design, climb, make_population, metrics_for, start_tree, verify
from genesys.testing.journals import JournalTestCase
from genesys.testing.selection import SelectionStrategyTestCase
from genesys.testing.strategies import PromotionStrategyTestCase

__all__ = [
    "JournalTestCase",
    "PromotionStrategyTestCase",
    "SelectionStrategyTestCase",
    "add_design",
    "climb",
    "make_population",
    "metrics_for",
    "start_tree",
    "verify",
]
