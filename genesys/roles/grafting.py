"""A design under way: which places are still to be written, how a unit is put in, and what parents give to it.

Everything here is a value; no place that the session did not open is ever touched, so that units of parents stay as they are,
byte for byte.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace

from genesys.errors import InterfaceError
from genesys.gau import Kind, Slot, UnitTree, fits
from genesys.gau.tree import split_path
from genesys.roles.answers import ObserverTurn
from genesys.roles.brief import Brief
from genesys.roles.wording import place_name


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A place to write a unit at."""

    path: str
    accepts: tuple[Kind, ...] = ()
    doc: str = ""

    def __str__(self) -> str:
        return f"{place_name(self.path)}; accepts: {', '.join(self.accepts) or 'any'}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """A place that the session filled.

    Attributes:
        is_coded: Whether a coder wrote the unit; else it was taken as it is.
    """

    path: str
    specification: str
    observation: ObserverTurn | None = None
    is_coded: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """A partial tree of a session.

    Attributes:
        tree: None before the root of a design from scratch is written.
        targets: Places of which one is written anew first, whatever stands there; then open slots follow.
        written: In the order of writing.
        before: The draft without what was written last.
        setbacks: What was given up from here on, a sentence each.
        blamed: Of a complete tree that fails its checks, the place that is to be written once more.
        is_repaired: Whether that has been done.
    """

    tree: UnitTree | None
    targets: tuple[str, ...] = ()
    written: tuple[Written, ...] = ()
    before: Draft | None = None
    setbacks: tuple[str, ...] = ()
    blamed: str | None = None
    is_repaired: bool = False

    @property
    def id(self) -> str:
        return self.tree.design_id if self.tree is not None else ""

    @property
    def is_complete(self) -> bool:
        return not self.places()

    def places(self) -> tuple[Place, ...]:
        """Where a unit may be written next."""
        if self.targets:
            return tuple(place_at(self.tree, path) for path in self.targets)
        return tuple(place_at(self.tree, path) for path in self.tree.open_slots()) if self.tree is not None else ()

    def grown(self, tree: UnitTree, written: Written, *, blamed: str | None = None) -> Draft:
        """With one unit more, or one written once more."""
        others = tuple(w for w in self.written if w.path != written.path)
        return Draft(tree=tree, written=(*others, written), before=self, blamed=blamed, is_repaired=self.is_repaired)

    def under_repair(self) -> Draft:
        """The draft as its blamed unit's coder is given it; from here on nobody else is blamed."""
        return replace(self, is_repaired=True)

    def rolled_back(self, setback: str) -> Draft:
        """Without what was written last, if anything was; it knows what came of it."""
        earlier = self.before or self
        return replace(earlier, setbacks=(*earlier.setbacks, setback))


def first_draft(brief: Brief, target: str) -> Draft:
    """Where a session starts from.

    A mutation opens the unit at the target, or any one of the first parent's where there is no such place; a crossover opens its
    target, too, or else the root; whatever is written from scratch begins at the root.
    """
    if brief.operator == "scratch" or not brief.parents:
        return Draft(tree=None, targets=("",))
    tree = brief.parents[0]
    paths = [path for path, _ in tree.walk()]
    named = "" if target.strip() == place_name("") else target.strip()
    if named in paths and (named or target.strip() or brief.operator == "crossover"):
        return Draft(tree=tree, targets=(named,))
    return Draft(tree=tree, targets=(("",) if brief.operator == "crossover" else (*paths[1:], *paths[:1])))


def donors(brief: Brief) -> tuple[UnitTree, ...]:
    """Whose units are put into the open slots of what is written: the parents of a crossover."""
    return brief.parents if brief.operator == "crossover" else ()


def most_units(brief: Brief) -> int:
    """Places that a finished tree may have: a mutation of a parent with more may keep as many as that."""
    sizes = [len(list(tree.walk())) for tree in brief.parents[:1]]
    return max([brief.limits.max_units, *sizes])


def place_at(tree: UnitTree | None, path: str) -> Place:
    """What is known of a place, filled or open."""
    if tree is None or not path:
        return Place(path="", accepts=("block",), doc="the whole block")
    slot = _slot(tree, path)
    return Place(path=path, accepts=slot.accepts, doc=slot.doc)


def put(
    tree: UnitTree | None, path: str, new: UnitTree, givers: Sequence[UnitTree] = (), n_most: int = 1000
) -> UnitTree:
    """Put a subtree at a place and fill its slots: from givers, or else with the children that stood there and fit.

    Raises:
        InterfaceError: It does not fit, or the tree would have more units than it may, counting one for each open slot.
    """
    if not path and new.kind != "block":
        raise InterfaceError(f"Cannot put unit {new.unit.name!r} (kind {new.kind!r}) at the root: it accepts block.")
    old = dict(tree.walk()).get(path) if tree is not None and not givers else None
    if old is not None:
        bound = {slot for slot, _ in new.children}
        kept = [(slot, c) for slot, c in old.children if slot not in bound and _takes(new.unit.slot(slot), c)]
        new = replace(new, children=(*new.children, *kept))
    new = graft_fitting(new, givers)
    whole = new if tree is None or not path else tree.graft(path, new)
    n_units = len(list(whole.walk())) + len(whole.open_slots())
    if n_units > n_most:
        raise InterfaceError(
            f"Cannot put unit {new.unit.name!r} at {place_name(path)}: the tree would have {n_units} units, counting one for "
            f"each open slot; expected at most {n_most}. Declare fewer slots."
        )
    return whole


def graft_fitting(tree: UnitTree, givers: Sequence[UnitTree]) -> UnitTree:
    """Fill open slots that say what they accept with whole subtrees of the givers, each given at most once.

    A slot whose name ends in `_2` asks the second giver; else they take turns, the last first, mixers and channel mixers
    before the rest. A subtree from a slot of the same name comes before others.
    """
    given: set[tuple[int, str]] = set()
    for path in sorted(tree.open_slots(), key=lambda path: not {"mixer", "channel"} & set(_slot(tree, path).accepts)):
        slot = _slot(tree, path)
        stem, _, number = slot.name.rpartition("_")
        names = {slot.name, stem} if number.isdecimal() else {slot.name}

        def preference(
            gift: tuple[int, str, UnitTree], number: str = number, names: set[str] = names
        ) -> tuple[object, ...]:
            index, where, _ = gift
            n_given = sum(giver == index for giver, _ in given)
            return number != str(index + 1), n_given, -index, split_path(where)[1] not in names

        gifts = [gift for gift in _gifts(givers) if gift[:2] not in given and slot.accepts and fits(slot, gift[2])]
        if gifts:
            index, where, subtree = min(gifts, key=preference)
            given.add((index, where))
            tree = tree.graft(path, subtree)
    return tree


def unwritten(draft: Draft, places: Collection[Place] = ()) -> tuple[str, ...]:
    """Paths of what the session has not written and, while it writes at one of some places, will not."""
    if draft.tree is None:
        return ()
    mine = {written.path for written in draft.written} | {place.path for place in places}
    return tuple(path for path, _ in draft.tree.walk() if path not in mine)


def _gifts(givers: Sequence[UnitTree]) -> Iterator[tuple[int, str, UnitTree]]:
    for index, giver in enumerate(givers):
        yield from ((index, where, subtree) for where, subtree in giver.walk() if where)


def _slot(tree: UnitTree, path: str) -> Slot:
    parent, name = split_path(path)
    slot = tree.at(parent).unit.slot(name)
    assert slot is not None, "walk and open_slots name declared slots"
    return slot


def _takes(slot: Slot | None, child: UnitTree) -> bool:
    return slot is not None and fits(slot, child)
