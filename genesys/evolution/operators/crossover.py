"""Rule-based crossover: a subtree of one parent in a slot of the other."""

from __future__ import annotations

from random import Random

from genesys.errors import InterfaceError
from genesys.evolution.operators.mutation import slot_at
from genesys.evolution.operators.proposal import Change, Focus, Proposal, first_new
from genesys.gau import UnitTree, fits


def crossover(a: UnitTree, b: UnitTree, rng: Random, focus: Focus | None = None) -> Proposal:
    """Graft a subtree of one parent into the other, at a slot that accepts its kind; either may give.

    Args:
        focus: Where rather to graft; everywhere alike by default.

    Raises:
        ValueError: The parents have nothing new for each other.
    """

    aim = focus or Focus()

    def attempt() -> tuple[UnitTree, Change]:
        base, donor = (a, b) if rng.random() < 0.5 else (b, a)
        path, old = aim.choose([(path, place) for path, place in base.walk() if path], rng, "slot to graft into")
        slot = slot_at(base, path)
        gifts = [place for where, place in donor.walk() if where and fits(slot, place) and place != old]
        if not gifts:
            raise InterfaceError(f"Cannot fill slot {slot.name!r} from the other parent: nothing of it fits.")
        # what serves as the same kind is the likelier gift: a mixer for a mixer, not for the filter inside one
        gift = rng.choice([place for place in gifts if place.kind == old.kind] or gifts)
        detail = f"{gift.unit.name} for {old.unit.name} at {path} of {base.unit.name}"
        return base.graft(path, gift), Change(edit="graft", target=path, detail=detail)

    return first_new("crossover", attempt, a, b)
