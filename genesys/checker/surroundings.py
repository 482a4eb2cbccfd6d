"""A block around a single unit, so that a unit's text can be checked before it stands in any design."""

from __future__ import annotations

from genesys.gau import Unit, UnitTree
from genesys.gau.library import seed_design
from genesys.gau.tree import fits
from genesys.gau.unit import Kind, Slot

_HOST = "gpt"
_PLACES: dict[Kind, tuple[str, ...]] = {
    "mixer": ("mixer",),
    "channel": ("channel",),
    "norm": ("norm_mixer", "norm_channel"),
    "position": ("mixer.position",),
}


def in_block(unit: Unit) -> UnitTree:
    """The reference transformer's block with `unit` where its kind belongs, and the reference's parts in its slots.

    A block stands for itself, a wrapper goes around the first part of the reference that it takes.
    """
    host = seed_design(_HOST)
    tree = _filled(UnitTree(unit))
    if unit.kind == "block":
        return tree
    if unit.kind == "wrapper":
        return host.graft(_PLACES.get(tree.kind, ("mixer",))[0], tree)
    for place in _PLACES[unit.kind]:
        host = host.graft(place, tree)
    return host


def _filled(tree: UnitTree) -> UnitTree:
    for path in tree.open_slots():
        parent, _, name = path.rpartition(".")
        slot = tree.at(parent).unit.slot(name)
        assert slot is not None, "open slots are declared slots"
        tree = tree.graft(path, _part(slot))
    return tree


def _part(slot: Slot) -> UnitTree:
    """The first part of the reference that fits a slot; the whole block where only that does."""
    host = seed_design(_HOST)
    parts = [host.at(places[0]) for places in _PLACES.values()]
    return next((part for part in parts if fits(slot, part)), host)
