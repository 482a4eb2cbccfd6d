"""Rule-based mutation: one local edit of a tree."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random
from typing import TypeVar

from genesys.errors import InterfaceError
from genesys.evolution.operators.grow import fill, grow
from genesys.evolution.operators.proposal import Change, Focus, Proposal, first_new
from genesys.gau import Slot, Unit, UnitTree, Value
from genesys.gau.tree import split_path

T = TypeVar("T")

Edit = Callable[[UnitTree, Sequence[Unit], Random, Focus], tuple[UnitTree, Change]]

INERT = frozenset({"chunk", "eps"})
"""Hyperparameters that change how a unit computes, hardly what: not worth a design of their own."""

MAX_FACTOR = 4
"""How far a number may drift from its unit's default, up or down."""


def mutate(tree: UnitTree, alphabet: Sequence[Unit], rng: Random, focus: Focus | None = None) -> Proposal:
    """Change one thing: swap a unit, move a hyperparameter, wrap, remove, duplicate or regrow a subtree.

    All other units keep their source and their hyperparameters; slots that an edit opens are filled anew.

    Args:
        focus: Which edits and places to prefer; the weights in `EDITS` and all places alike by default.

    Raises:
        ValueError: No edit fits.
    """
    aim = focus or Focus()
    odds = edit_odds(aim)

    def attempt() -> tuple[UnitTree, Change]:
        edit = rng.choices([e for e, _ in EDITS], [odds[e.__name__] for e, _ in EDITS])[0]
        edited, change = edit(tree, alphabet, rng, aim)
        return fill(edited, alphabet, rng), change

    return first_new("mutation", attempt, tree)


def edit_odds(focus: Focus) -> dict[str, float]:
    """Probability of each edit at a draw; one that fits nowhere is drawn again."""
    weights = {edit.__name__: focus.edits.get(edit.__name__, weight) for edit, weight in EDITS}
    return {name: weight / sum(weights.values()) for name, weight in weights.items()}


def swap_unit(tree: UnitTree, alphabet: Sequence[Unit], rng: Random, focus: Focus) -> tuple[UnitTree, Change]:
    """Another unit of the same kind; children that fit it stay."""
    path, old = _any_place(tree, rng, focus)
    others = [unit for unit in _sorted(alphabet) if unit.kind == old.unit.kind and unit != old.unit]
    others = [unit for unit in others if unit.kind != "wrapper" or unit.slot("inner") is not None]
    new = _choose(others, rng, f"another {old.unit.kind}")
    detail = f"{old.unit.name} -> {new.name} at {path or 'the root'}"
    return tree.replace(path, new), Change(edit="swap_unit", target=path, detail=detail)


def move_hyperparameter(tree: UnitTree, alphabet: Sequence[Unit], rng: Random, focus: Focus) -> tuple[UnitTree, Change]:
    """One number doubled, halved or moved by a little; one switch flipped. Texts stay."""
    movable = [
        (path, name, value, place.unit)
        for path, place in tree.walk()
        for name, value in sorted(place.resolved().items())
        if name not in INERT and isinstance(value, (bool, int, float))
    ]
    path, name, value, unit = focus.choose(movable, rng, "hyperparameter to move")
    declared = unit.hyperparameter(name)
    assert declared is not None
    moved = step(value, declared.default, rng)
    detail = f"{unit.name}.{name} {value} -> {moved}"
    return tree.set(path, name, moved), Change(edit="move_hyperparameter", target=path, detail=detail)


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


def wrap(tree: UnitTree, alphabet: Sequence[Unit], rng: Random, focus: Focus) -> tuple[UnitTree, Change]:
    """A wrapper around a subtree, such as a gate or a residual."""
    path, old = _any_place(tree, rng, focus, root=False)
    wrapper = _choose(
        [u for u in _sorted(alphabet) if u.kind == "wrapper" and u.slot("inner") is not None], rng, "wrapper"
    )
    detail = f"{wrapper.name} around {old.unit.name} at {path}"
    return tree.wrap(path, wrapper), Change(edit="wrap", target=path, detail=detail)


def remove(tree: UnitTree, alphabet: Sequence[Unit], rng: Random, focus: Focus) -> tuple[UnitTree, Change]:
    """A unit taken out, what it held in one of its slots put in its place."""
    holders = [(p, place) for p, place in tree.walk() if p and any(c.kind == place.kind for _, c in place.children)]
    path, old = focus.choose(holders, rng, "unit to remove")
    slot = _choose([name for name, child in old.children if child.kind == old.kind], rng, "child to keep")
    detail = f"{old.unit.name} removed at {path}"
    return tree.unwrap(path, slot), Change(edit="remove", target=path, detail=detail)


def duplicate(tree: UnitTree, alphabet: Sequence[Unit], rng: Random, focus: Focus) -> tuple[UnitTree, Change]:
    """A copy of a subtree put into another slot that accepts it."""
    source, copied = _any_place(tree, rng, Focus(), root=False)
    target, old = _any_place(tree, rng, focus, root=False)
    if target == source or source.startswith(f"{target}."):
        raise InterfaceError(f"Cannot copy {source!r} onto {target!r}: it would take the place of what it stands in.")
    detail = f"{copied.unit.name} of {source} also at {target} for {old.unit.name}"
    return tree.graft(target, copied), Change(edit="duplicate", target=target, detail=detail)


def regrow(tree: UnitTree, alphabet: Sequence[Unit], rng: Random, focus: Focus) -> tuple[UnitTree, Change]:
    """A random new subtree in the place of an old one."""
    path, old = _any_place(tree, rng, focus, root=False)
    new = grow(slot_at(tree, path), alphabet, rng, depth=path.count(".") + 1)
    detail = f"{old.unit.name} at {path} regrown as {new.unit.name}"
    return tree.graft(path, new), Change(edit="regrow", target=path, detail=detail)


EDITS: tuple[tuple[Edit, float], ...] = (
    (swap_unit, 0.40), (move_hyperparameter, 0.20), (wrap, 0.12), (remove, 0.08), (duplicate, 0.05), (regrow, 0.15),
)  # fmt: skip


def slot_at(tree: UnitTree, path: str) -> Slot:
    """The slot that the subtree at a path stands in."""
    parent, name = split_path(path)
    slot = tree.at(parent).unit.slot(name)
    assert slot is not None, "a bound slot exists"
    return slot


def _any_place(tree: UnitTree, rng: Random, focus: Focus, *, root: bool = True) -> tuple[str, UnitTree]:
    return focus.choose([(path, place) for path, place in tree.walk() if root or path], rng, "place to edit")


def _choose(items: Sequence[T], rng: Random, what: str) -> T:
    if not items:
        raise InterfaceError(f"Cannot edit the tree: there is no {what}.")
    return rng.choice(items)


def _sorted(alphabet: Sequence[Unit]) -> list[Unit]:
    return sorted(alphabet, key=lambda unit: (unit.name, unit.id))
