"""Growing random trees from an alphabet of units."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from random import Random

from genesys.errors import InterfaceError
from genesys.evolution.operators.proposal import Change, Proposal, first_new
from genesys.gau import Slot, Unit, UnitTree
from genesys.gau.tree import split_path

WRAP_CHANCE = 0.12
LEAF_DEPTH = 3
_BIG = ("block", "mixer", "channel")


def scratch(alphabet: Sequence[Unit], rng: Random) -> Proposal:
    """Grow a whole design from nothing.

    Args:
        alphabet: Units to choose from; at least one block, and one unit for each kind that its slots accept.

    Raises:
        ValueError: The alphabet cannot make a complete block.
    """
    blocks = _by_name(unit for unit in alphabet if unit.kind == "block")

    def attempt() -> tuple[UnitTree, Change]:
        if not blocks:
            raise InterfaceError("Cannot grow a design: the alphabet has no block.")
        root = rng.choice(blocks)
        return fill(UnitTree(root), alphabet, rng), Change(edit="grow", target="", detail=f"grown from {root.name}")

    return first_new("scratch", attempt)


def fill(tree: UnitTree, alphabet: Sequence[Unit], rng: Random) -> UnitTree:
    """Fill every open slot with a random subtree of a kind that fits.

    Raises:
        InterfaceError: The alphabet has nothing for a slot.
    """
    while slots := tree.open_slots():
        path = slots[0]
        parent, name = split_path(path)
        slot = tree.at(parent).unit.slot(name)
        assert slot is not None, "open_slots lists slots that exist"
        depth = path.count(".") + 1
        tree = tree.graft(path, grow(slot, alphabet, rng, depth=depth))
    return tree


def grow(slot: Slot, alphabet: Sequence[Unit], rng: Random, *, depth: int) -> UnitTree:
    """A complete random subtree for a slot.

    Args:
        depth: Of the slot, the root's own being 1. From depth 2 on units with room for further mixers are avoided,
            from 3 on units with any slot, where the alphabet allows.
    """
    accepted = slot.accepts or ("mixer", "channel")
    if depth < LEAF_DEPTH and rng.random() < WRAP_CHANCE:
        wrapped = _wrapped(slot, alphabet, rng, depth)
        if wrapped is not None:
            return wrapped
    fitting = _by_name(unit for unit in alphabet if unit.kind in accepted)
    if not fitting:
        raise InterfaceError(f"Cannot fill slot {slot.name!r}: the alphabet has no unit of kind {', '.join(accepted)}.")
    unit = rng.choice(_small(fitting, depth))
    return _completed(unit, alphabet, rng, depth)


def _wrapped(slot: Slot, alphabet: Sequence[Unit], rng: Random, depth: int) -> UnitTree | None:
    accepted = set(slot.accepts)
    wrappers = [
        unit for unit in _by_name(alphabet)
        if unit.kind == "wrapper" and (inner := unit.slot("inner")) is not None and accepted & set(inner.accepts)
    ]  # fmt: skip
    if not wrappers:
        return None
    wrapper = rng.choice(wrappers)
    inner = wrapper.slot("inner")
    assert inner is not None
    kinds = tuple(kind for kind in inner.accepts if kind in accepted)
    child = grow(Slot(name="inner", accepts=kinds), alphabet, rng, depth=depth + 1)
    return _completed(wrapper, alphabet, rng, depth, ("inner", child))


def _completed(unit: Unit, alphabet: Sequence[Unit], rng: Random, depth: int, *bound: tuple[str, UnitTree]) -> UnitTree:
    taken = {name for name, _ in bound}
    grown = [(s.name, grow(s, alphabet, rng, depth=depth + 1)) for s in unit.slots if s.name not in taken]
    return UnitTree(unit, (), (*bound, *grown))


def _small(units: list[Unit], depth: int) -> list[Unit]:
    if depth < LEAF_DEPTH - 1:
        return units
    leaves = [unit for unit in units if not unit.slots]
    if depth >= LEAF_DEPTH and leaves:
        return leaves
    return [unit for unit in units if not any(set(slot.accepts) & set(_BIG) for slot in unit.slots)] or units


def _by_name(units: Iterable[Unit]) -> list[Unit]:
    """Sorted, so that a choice depends on the alphabet as a set and the seed alone."""
    return sorted(units, key=lambda unit: (unit.name, unit.id))
