"""What an operator gives, and the names of designs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import TypeVar

from genesys.errors import InterfaceError
from genesys.gau import UnitTree

MAX_PLACES = 24
MAX_DEPTH = 6
_ATTEMPTS = 64

Place = TypeVar("Place", bound=tuple[object, ...])


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """What was done to a tree.

    Attributes:
        edit: The edit's name.
        target: The path at which it was done; of crossover in the parent that was given to.
        detail: The same for a reader.
    """

    edit: str
    target: str
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Proposal:
    """A new design: its tree, the operator that made it, and what that did, as in `Change`."""

    tree: UnitTree
    operator: str
    detail: str
    edit: str = ""
    target: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Focus:
    """Which edits are rather drawn, which places rather changed, and which units put in.

    Attributes:
        edits: Weights of mutation's edits by name, in place of their own.
        targets: Weights of places by path; 1 for those not named.
        units: Names of the units to choose from; all where none is named.
    """

    edits: Mapping[str, float] = field(default_factory=dict)
    targets: Mapping[str, float] = field(default_factory=dict)
    units: tuple[str, ...] = ()

    def choose(self, places: Sequence[Place], rng: Random, what: str) -> Place:
        """One of some tuples that begin with a path.

        Raises:
            InterfaceError: There is none.
        """
        if not places:
            raise InterfaceError(f"Cannot edit the tree: there is no {what}.")
        if not self.targets:
            return rng.choice(places)
        return rng.choices(places, [self.targets.get(str(place[0]), 1.0) for place in places])[0]


def first_new(operator: str, attempt: Callable[[], tuple[UnitTree, Change]], *parents: UnitTree) -> Proposal:
    """Try until a design comes out that is complete, no larger than allowed and none of the parents.

    A design is at most 24 units in 6 layers, or as large as the largest parent.

    Args:
        attempt: Gives a tree and what was done; InterfaceError counts as a failed try.

    Raises:
        ValueError: Nothing new after 64 tries.
    """
    known = {parent.design_id for parent in parents}
    places = max((MAX_PLACES, *(_n_places(parent) for parent in parents)))
    depth = max((MAX_DEPTH, *(_depth(parent) for parent in parents)))
    for _ in range(_ATTEMPTS):
        try:
            tree, change = attempt()
        except InterfaceError:
            continue
        fits = tree.kind == "block" and not tree.open_slots() and _n_places(tree) <= places and _depth(tree) <= depth
        if fits and tree.design_id not in known:
            return Proposal(tree=tree, operator=operator, detail=change.detail, edit=change.edit, target=change.target)
    raise ValueError(
        f"Cannot propose by {operator}: {_ATTEMPTS} tries gave no new complete block of at most {places} units. "
        f"Add units to the alphabet, or choose other parents."
    )


def design_name(tree: UnitTree) -> str:
    """A short name to read, always the same for a design: its uppermost mixer and channel unit, and its id.

    For example `Retention+SwiGLU-3fa2`. Ids, not names, are unique.
    """
    mixer = _uppermost(tree, "mixer", other="channel")
    channel = _uppermost(tree, "channel", other="mixer")
    parts = [name for name in (mixer, channel) if name] or [tree.unit.name]
    return f"{'+'.join(parts)}-{tree.design_id[:4]}"


def _uppermost(tree: UnitTree, role: str, *, other: str) -> str:
    """The unit that plays a role: in a slot of that name if there is one, not in one of the other's; wrappers apart."""
    found = [
        (role not in path.split("."), path.count("."), path, place.unit.name)
        for path, place in tree.walk()
        if place.unit.kind in ("mixer", "channel") and (path.startswith(role) or place.unit.kind == role)
        if path.partition(".")[0] != other
    ]
    return min(found)[3] if found else ""


def _n_places(tree: UnitTree) -> int:
    return sum(1 for _ in tree.walk())


def _depth(tree: UnitTree) -> int:
    return 1 + max((_depth(child) for _, child in tree.children), default=0)
