"""The units and designs that Genesys ships: source texts, read as resources.

A unit lives in `units/<snake_case_name>.py`, a seed design in `seeds/<name>.json` and a baseline in
`baselines/<name>.json`, as nested entries `{"unit": "ClassName", "hyperparameters": {...}, "slots": {...}}`.
"""

from __future__ import annotations

import json
from functools import cache
from importlib import resources
from importlib.resources.abc import Traversable

from genesys.errors import ConfigError, suggest
from genesys.gau.parse import parse_unit
from genesys.gau.tree import UnitTree, bind
from genesys.gau.unit import Kind, Unit

SEED_NAMES = ("gpt", "mamba2", "retnet", "rwkv6", "ttt")
BASELINE_NAMES = ("rwkv7",)
"""Designs to compare with, from which no evolution starts by itself."""


@cache
def library() -> dict[str, Unit]:
    """Every unit of the library by class name, in alphabetical order."""
    texts = (f.read_text(encoding="utf-8") for f in _files("units", ".py"))
    return {unit.name: unit for unit in sorted(map(parse_unit, texts), key=lambda unit: unit.name)}


def unit_named(name: str) -> Unit:
    """One unit of the library.

    Raises:
        ConfigError: No such unit.
    """
    units = library()
    if name not in units:
        raise ConfigError(f"Cannot find unit {name!r} in the library of {len(units)} units.{suggest(name, units)}")
    return units[name]


def units_of_kind(*kinds: Kind) -> tuple[Unit, ...]:
    """The library's units of these kinds, in alphabetical order."""
    return tuple(unit for unit in library().values() if unit.kind in kinds)


@cache
def seed_design(name: str) -> UnitTree:
    """One of the five starting designs.

    Raises:
        ConfigError: No such seed.
    """
    if name not in SEED_NAMES:
        raise ConfigError(
            f"Cannot find seed {name!r}; expected one of {', '.join(SEED_NAMES)}.{suggest(name, SEED_NAMES)}"
        )
    return _design("seeds", name)


@cache
def shipped_design(name: str) -> UnitTree:
    """A seed or a baseline.

    Raises:
        ConfigError: No design of that name is shipped.
    """
    if name in BASELINE_NAMES:
        return _design("baselines", name)
    return seed_design(name)


def _design(folder: str, name: str) -> UnitTree:
    entry = json.loads((resources.files(__name__) / folder / f"{name}.json").read_text(encoding="utf-8"))
    return bind(entry, unit_named)


def _files(folder: str, suffix: str) -> list[Traversable]:
    return sorted(
        (f for f in (resources.files(__name__) / folder).iterdir() if f.name.endswith(suffix)), key=lambda f: f.name
    )
