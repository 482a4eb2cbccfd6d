"""A design's code as a tree of units (GAUs): values, edits, composition. Standard library only."""

from genesys.gau.compose import compose, parse_composed
from genesys.gau.parse import parse_unit
from genesys.gau.tree import UnitTree, bind, fits
from genesys.gau.unit import CONTRACT_VERSION, KINDS, Expression, Hyperparameter, Kind, Slot, Unit, Value

__all__ = [
    "CONTRACT_VERSION",
    "KINDS",
    "Expression",
    "Hyperparameter",
    "Kind",
    "Slot",
    "Unit",
    "UnitTree",
    "Value",
    "bind",
    "compose",
    "fits",
    "parse_composed",
    "parse_unit",
]
