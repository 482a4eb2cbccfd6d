"""Rule-based mutation: one local edit of a tree."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random
from typing import TypeVar

from genesys.errors import InterfaceError
from genesys.evolution.operators.grow import fill, grow
from genesys.evolution.operators.proposal import Proposal, first_new
from genesys.gau import Slot, Unit, UnitTree, Value
from genesys.gau.tree import split_path

T = TypeVar("T")

Edit = Callable[[UnitTree, Sequence[Unit], Random], tuple[UnitTree, str]]

INERT = frozenset({"chunk", "eps"})
"""Hyperparameters that change how a unit computes, not what: moving them gives a twin."""

MAX_FACTOR = 4
"""How far a number may drift from its unit's default, up or down."""


def mutate(tree: UnitTree, alphabet: Sequence[Unit], rng: Random) -> Proposal:
    """Change one thing: swap a unit, move a hyperparameter, wrap, remove, duplicate or regrow a subtree.

    All other units keep their source and their hyperparameters; slots that an edit opens are filled anew.

    Raises:
        ValueError: No edit fits.
    """

    def attempt() -> tuple[UnitTree, str]:
        edit = rng.choices([e for e, _ in EDITS], [weight for _, weight in EDITS])[0]
        edited, detail = edit(tree, alphabet, rng)
        return fill(edited, alphabet, rng), detail

    return first_new("mutation", attempt, tree)


def swap_unit(tree: UnitTree, alphabet: Sequence[Unit], rng: Random) -> tuple[UnitTree, str]:
    """Another unit of the same kind; children that fit it stay."""
    path, old = _any_place(tree, rng)
    others = [unit for unit in _sorted(alphabet) if unit.kind == old.unit.kind and unit != old.unit]
    others = [unit for unit in others if unit.kind != "wrapper" or unit.slot("inner") is not None]
    new = _choose(others, rng, f"another {old.unit.kind}")
    return tree.replace(path, new), f"{old.unit.name} -> {new.name} at {path or 'the root'}"


def move_hyperparameter(tree: UnitTree, alphabet: Sequence[Unit], rng: Random) -> tuple[UnitTree, str]:
    """One number doubled, halved or moved by a little; one switch flipped. Texts stay."""
    movable = [
        (path, name, value, place.unit)
        for path, place in tree.walk()
        for name, value in sorted(place.resolved().items())
        if name not in INERT and isinstance(value, (bool, int, float))
    ]
    path, name, value, unit = _choose(movable, rng, "hyperparameter to move")
    declared = unit.hyperparameter(name)
    assert declared is not None
    moved = step(value, declared.default, rng)
    return tree.set(path, name, moved), f"{unit.name}.{name} {value} -> {moved}"


def step(value: bool | int | float, default: Value, rng: Random) -> bool | int | float:
    """A nearby value: within a factor of 2 of this one and of 4 of the default; shares stay within 1."""
    if isinstance(value, bool):
        return not value
    base = (
        abs(default) if isinstance(default, (int, float)) and not isinstance(default, bool) and default else abs(value)
    )
    if isinstance(value, int):
        nearby = {value * 2, value // 2, value + 1, value - 1} - {value}
        allowed = sorted(v for v in nearby if max(1, base / MAX_FACTOR) <= v <= max(2, base * MAX_FACTOR))
        return rng.choice(allowed) if allowed else value
    moved = float(f"{value * 2 ** rng.uniform(-1, 1):.3g}")
    top = 1.0 if 0 < value <= 1 else base * MAX_FACTOR
    return moved if base / MAX_FACTOR <= abs(moved) <= top else value


def wrap(tree: UnitTree, alphabet: Sequence[Unit], rng: Random) -> tuple[UnitTree, str]:
    """A wrapper around a subtree, such as a gate or a residual."""
    path, old = _any_place(tree, rng, root=False)
    wrapper = _choose(
        [u for u in _sorted(alphabet) if u.kind == "wrapper" and u.slot("inner") is not None], rng, "wrapper"
    )
    return tree.wrap(path, wrapper), f"{wrapper.name} around {old.unit.name} at {path}"


def remove(tree: UnitTree, alphabet: Sequence[Unit], rng: Random) -> tuple[UnitTree, str]:
    """A unit taken out, what it held in one of its slots put in its place."""
    holders = [(p, place) for p, place in tree.walk() if p and any(c.kind == place.kind for _, c in place.children)]
    path, old = _choose(holders, rng, "unit to remove")
    slot = _choose([name for name, child in old.children if child.kind == old.kind], rng, "child to keep")
    return tree.unwrap(path, slot), f"{old.unit.name} removed at {path}"


def duplicate(tree: UnitTree, alphabet: Sequence[Unit], rng: Random) -> tuple[UnitTree, str]:
    """A copy of a subtree put into another slot that accepts it."""
    source, copied = _any_place(tree, rng, root=False)
    target, old = _any_place(tree, rng, root=False)
    if target == source or source.startswith(f"{target}."):
        raise InterfaceError(f"Cannot copy {source!r} onto {target!r}: it would take the place of what it stands in.")
    return tree.graft(target, copied), f"{copied.unit.name} of {source} also at {target} for {old.unit.name}"


def regrow(tree: UnitTree, alphabet: Sequence[Unit], rng: Random) -> tuple[UnitTree, str]:
    """A random new subtree in the place of an old one."""
    path, old = _any_place(tree, rng, root=False)
    new = grow(slot_at(tree, path), alphabet, rng, depth=path.count(".") + 1)
    return tree.graft(path, new), f"{old.unit.name} at {path} regrown as {new.unit.name}"


EDITS: tuple[tuple[Edit, float], ...] = (
    (swap_unit, 0.40), (move_hyperparameter, 0.20), (wrap, 0.12), (remove, 0.08), (duplicate, 0.05), (regrow, 0.15),
)  # fmt: skip


def slot_at(tree: UnitTree, path: str) -> Slot:
    """The slot that the subtree at a path stands in."""
    parent, name = split_path(path)
    slot = tree.at(parent).unit.slot(name)
    assert slot is not None, "a bound slot exists"
    return slot


def _any_place(tree: UnitTree, rng: Random, *, root: bool = True) -> tuple[str, UnitTree]:
    return _choose([(path, place) for path, place in tree.walk() if root or path], rng, "place to edit")


def _choose(items: Sequence[T], rng: Random, what: str) -> T:
    if not items:
        raise InterfaceError(f"Cannot edit the tree: there is no {what}.")
    return rng.choice(items)


def _sorted(alphabet: Sequence[Unit]) -> list[Unit]:
    return sorted(alphabet, key=lambda unit: (unit.name, unit.id))
