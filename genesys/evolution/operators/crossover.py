"""Rule-based crossover: a subtree of one parent in a slot of the other."""

from __future__ import annotations

from random import Random

from genesys.errors import InterfaceError
from genesys.evolution.operators.mutation import slot_at
from genesys.evolution.operators.proposal import Proposal, first_new
from genesys.gau import UnitTree, fits


def crossover(a: UnitTree, b: UnitTree, rng: Random) -> Proposal:
    """Graft a subtree of one parent into the other, at a slot that accepts its kind; either may give.

    Raises:
        ValueError: The parents have nothing new for each other.
    """

    def attempt() -> tuple[UnitTree, str]:
        base, donor = (a, b) if rng.random() < 0.5 else (b, a)
        places = [path for path, _ in base.walk() if path]
        if not places:
            raise InterfaceError(f"Cannot graft into {base.unit.name!r}: it has no slots.")
        path = rng.choice(places)
        old, slot = base.at(path), slot_at(base, path)
        gifts = [place for where, place in donor.walk() if where and fits(slot, place) and place != old]
        if not gifts:
            raise InterfaceError(f"Cannot fill slot {slot.name!r} from the other parent: nothing of it fits.")
        # what serves as the same kind is the likelier gift: a mixer for a mixer, not for the filter inside one
        gift = rng.choice([place for place in gifts if place.kind == old.kind] or gifts)
        return base.graft(path, gift), f"{gift.unit.name} for {old.unit.name} at {path} of {base.unit.name}"

    return first_new("crossover", attempt, a, b)
