"""Unit trees: immutable values that bind slots to units.

A tree is a unit, the hyperparameters that differ from its defaults, and a tree for each filled slot. Every edit
returns a new tree; no edit touches a source text. A place in a tree is a dotted path of slots, `mixer.position`;
the root is "". A slot that hands out several children (`ctx.children("expert", n)`) is bound once as `expert`,
and may be bound apart for some of them as `expert[2]`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from genesys.errors import InterfaceError, suggest
from genesys.gau.parse import parse_unit
from genesys.gau.unit import CONTRACT_VERSION, Expression, Kind, Slot, Unit, Value, freeze

Edit = Callable[["UnitTree"], "UnitTree"]


@dataclass(frozen=True)
class UnitTree:
    """One unit with what fills its slots; a design's code is the tree at the root.

    Guarantees: slots and hyperparameters exist in the unit, kinds fit, and both are sorted, so that equal
    designs are equal values. Slots may be open; `open_slots` lists them.

    Raises:
        InterfaceError: An unknown slot or hyperparameter, or a child whose kind does not fit.
    """

    unit: Unit
    hyperparameters: tuple[tuple[str, Value], ...] = ()
    children: tuple[tuple[str, UnitTree], ...] = ()

    def __post_init__(self) -> None:
        given = dict(self.hyperparameters)
        for name in given:
            if self.unit.hyperparameter(name) is None:
                known = [h.name for h in self.unit.hyperparameters]
                raise InterfaceError(
                    f"Cannot set hyperparameter {name!r} of unit {self.unit.name!r}: it has "
                    f"{', '.join(known) or 'none'}.{suggest(name, known)}"
                )
        for slot_name, child in self.children:
            _check_fit(self.unit, slot_name, child)
        differing = {n: v for n, v in given.items() if not _same(v, _default_of(self.unit, n))}
        object.__setattr__(self, "hyperparameters", tuple(sorted(differing.items(), key=_by_name)))
        object.__setattr__(self, "children", tuple(sorted(dict(self.children).items(), key=_by_name)))

    # --- reading -------------------------------------------------------------------------------------------

    @property
    def kind(self) -> Kind:
        """What this subtree serves as: a wrapper is what its `inner` slot holds."""
        inner = dict(self.children).get("inner")
        return inner.kind if self.unit.kind == "wrapper" and inner is not None else self.unit.kind

    @property
    def writes(self) -> frozenset[str]:
        """Names this subtree may put into `Z`; "*" in a declaration stands for its children's names."""
        own = frozenset(self.unit.writes) - {"*"}
        return own.union(*(c.writes for _, c in self.children)) if "*" in self.unit.writes else own

    def child(self, slot: str) -> UnitTree | None:
        """The subtree in a slot; for `experts[2]`, its own binding or the slot's."""
        bound = dict(self.children)
        return bound.get(slot) or bound.get(slot.partition("[")[0])

    def at(self, path: str) -> UnitTree:
        """The subtree at a path.

        Raises:
            InterfaceError: No such path.
        """
        found: UnitTree | None = self
        for slot in path.split(".") if path else ():
            found = dict(found.children).get(slot) if found is not None else None
        if found is None:
            known = [p for p, _ in self.walk()]
            raise InterfaceError(
                f"Cannot find path {path!r}: the tree rooted at {self.unit.name!r} has no such place."
                f"{suggest(path, known)}"
            )
        return found

    def walk(self, prefix: str = "") -> Iterator[tuple[str, UnitTree]]:
        """Every (path, subtree), parents first, slots in alphabetical order."""
        yield prefix, self
        for slot, child in self.children:
            yield from child.walk(_join(prefix, slot))

    def units(self) -> tuple[Unit, ...]:
        """The distinct units, in the order of `walk`."""
        return tuple(dict.fromkeys(tree.unit for _, tree in self.walk()))

    def open_slots(self) -> tuple[str, ...]:
        """Paths of the slots that nothing fills yet."""
        return tuple(
            _join(path, slot.name)
            for path, tree in self.walk()
            for slot in tree.unit.slots
            if not any(bound.partition("[")[0] == slot.name for bound, _ in tree.children)
        )

    def resolved(self) -> dict[str, Value]:
        """All hyperparameters of this instance, defaults filled in."""
        return {h.name: h.default for h in self.unit.hyperparameters} | dict(self.hyperparameters)

    @cached_property
    def design_id(self) -> str:
        """SHA-256 of the canonical tree: unit ids, bindings, all hyperparameters, contract version."""
        canonical = {"contract": CONTRACT_VERSION, "tree": self._canonical()}
        text = json.dumps(canonical, sort_keys=True, separators=(",", ":"), allow_nan=False)
        return hashlib.sha256(text.encode()).hexdigest()

    def _canonical(self) -> dict[str, Any]:
        return {
            "unit": self.unit.id,
            "hyperparameters": {name: _jsonable(value) for name, value in self.resolved().items()},
            "slots": {slot: child._canonical() for slot, child in self.children},
        }

    # --- edits ---------------------------------------------------------------------------------------------

    def replace(self, path: str, unit: Unit) -> UnitTree:
        """Put another unit at a path; children and hyperparameters whose names it shares are kept."""

        def edit(old: UnitTree) -> UnitTree:
            kept = [(n, v) for n, v in old.hyperparameters if unit.hyperparameter(n)]
            children = [(s, c) for s, c in old.children if _fits(unit, s, c)]
            return UnitTree(unit, tuple(kept), tuple(children))

        return self._edit(path, edit)

    def graft(self, path: str, subtree: UnitTree) -> UnitTree:
        """Put a whole subtree at a path, which may be an open slot."""
        if path in dict(self.walk()):
            return self._edit(path, lambda _: subtree)
        parent, slot = split_path(path)
        return self._edit(parent, lambda old: replace(old, children=(*old.children, (slot, subtree))))

    def prune(self, path: str) -> UnitTree:
        """Open a slot; the root cannot be pruned."""
        parent, slot = split_path(path)
        self.at(path)
        return self._edit(parent, lambda t: replace(t, children=tuple(c for c in t.children if c[0] != slot)))

    def wrap(self, path: str, wrapper: Unit, slot: str = "inner") -> UnitTree:
        """Put `wrapper` at a path and what stood there into its slot."""
        return self._edit(path, lambda old: UnitTree(wrapper, (), ((slot, old),)))

    def unwrap(self, path: str, slot: str = "inner") -> UnitTree:
        """Put what a slot holds in the place of the unit that holds it."""
        return self._edit(path, lambda old: old.at(slot))

    def swap(self, path_a: str, path_b: str) -> UnitTree:
        """Exchange two subtrees, neither of which contains the other."""
        if _within(path_a, path_b) or _within(path_b, path_a):
            raise InterfaceError(f"Cannot swap {path_a!r} and {path_b!r}: one lies inside the other.")
        a, b = self.at(path_a), self.at(path_b)
        return self.graft(path_a, b).graft(path_b, a)

    def set(self, path: str, name: str, value: object) -> UnitTree:
        """Set one hyperparameter of the instance at a path."""
        frozen = freeze(value)
        return self._edit(
            path,
            lambda old: replace(
                old, hyperparameters=(*(h for h in old.hyperparameters if h[0] != name), (name, frozen))
            ),
        )

    def rename_slot(self, path: str, old_slot: str, new_slot: str, unit: Unit) -> UnitTree:
        """Rebind a child after its parent's new source renamed the slot; the child stays as it is."""

        def edit(old: UnitTree) -> UnitTree:
            bound = [(new_slot if s == old_slot else s, c) for s, c in old.children]
            return UnitTree(unit, old.hyperparameters, tuple(bound))

        self.at(_join(path, old_slot))
        return self._edit(path, edit)

    def _edit(self, path: str, edit: Edit) -> UnitTree:
        if path == "":
            return edit(self)
        slot, _, rest = path.partition(".")
        bound = dict(self.children)
        if slot not in bound:
            self.at(slot)  # raises, with a suggestion
        bound[slot] = bound[slot]._edit(rest, edit)
        return replace(self, children=tuple(bound.items()))

    # --- records -------------------------------------------------------------------------------------------

    def to_json(self) -> dict[str, Any]:
        """The tree as plain data: each unit's source once, by id, and the bindings."""
        return {
            "contract": CONTRACT_VERSION,
            "units": {unit.id: unit.source for unit in self.units()},
            "tree": self._bindings(),
        }

    def _bindings(self) -> dict[str, Any]:
        entry: dict[str, Any] = {"unit": self.unit.id, "name": self.unit.name}
        if self.hyperparameters:
            entry["hyperparameters"] = {name: _jsonable(value) for name, value in self.hyperparameters}
        if self.children:
            entry["slots"] = {slot: child._bindings() for slot, child in self.children}
        return entry

    @staticmethod
    def from_json(data: Mapping[str, Any]) -> UnitTree:
        """Read what `to_json` wrote.

        Raises:
            InterfaceError: It is something else, or two units in it do not fit.
            UnitError: A text in it is no unit.
        """
        try:
            return bind(data["tree"], lambda reference: parse_unit(data["units"][reference]))
        except (KeyError, TypeError, AttributeError, RecursionError) as error:
            raise InterfaceError(
                f"Cannot read a tree: {type(error).__name__} {str(error)[:100]}; expected the keys `tree` and `units`, as "
                f"`genesys export` and `UnitTree.to_json` write them."
            ) from None


def bind(entry: Mapping[str, Any], resolve: Callable[[str], Unit]) -> UnitTree:
    """Build a tree from nested `{"unit", "hyperparameters", "slots"}` entries.

    Args:
        entry: A slot's entry may also be the bare unit reference.
        resolve: Turns a unit reference (a name, an id) into a unit.
    """
    children = (
        (slot, bind({"unit": e} if isinstance(e, str) else e, resolve)) for slot, e in entry.get("slots", {}).items()
    )
    hyperparameters = ((name, _from_jsonable(value)) for name, value in entry.get("hyperparameters", {}).items())
    return UnitTree(resolve(entry["unit"]), tuple(hyperparameters), tuple(children))


def split_path(path: str) -> tuple[str, str]:
    """Split a path into its parent's path and its last slot.

    Raises:
        InterfaceError: The root, which stands in no slot.
    """
    if not path:
        raise InterfaceError("Cannot do that at the root: it stands in no slot. Name a slot's path.")
    parent, _, slot = path.rpartition(".")
    return parent, slot


def fits(slot: Slot, child: UnitTree) -> bool:
    """Whether a subtree may stand in a slot."""
    return not slot.accepts or child.kind in slot.accepts or child.kind == "wrapper"


def _fits(unit: Unit, slot_name: str, child: UnitTree) -> bool:
    slot = unit.slot(slot_name)
    return slot is not None and fits(slot, child)


def _check_fit(unit: Unit, slot_name: str, child: UnitTree) -> None:
    slot = unit.slot(slot_name)
    if slot is None:
        known = [s.name for s in unit.slots]
        raise InterfaceError(
            f"Cannot fill slot {slot_name!r} of unit {unit.name!r}: it has {', '.join(known) or 'no slots'}."
            f"{suggest(slot_name, known)}"
        )
    if not fits(slot, child):
        raise InterfaceError(
            f"Cannot put unit {child.unit.name!r} (kind {child.kind!r}) into slot {slot_name!r} of {unit.name!r}: "
            f"it accepts {', '.join(slot.accepts)}."
        )


def _default_of(unit: Unit, name: str) -> Value:
    declared = unit.hyperparameter(name)
    assert declared is not None
    return declared.default


def _by_name(item: tuple[str, object]) -> str:
    return item[0]


def _same(a: Value, b: Value) -> bool:
    return a == b and type(a) is type(b)


def _join(prefix: str, slot: str) -> str:
    return f"{prefix}.{slot}" if prefix else slot


def _within(inner: str, outer: str) -> bool:
    return inner == outer or inner.startswith(f"{outer}.") or outer == ""


def _jsonable(value: Value) -> Any:
    if isinstance(value, Expression):
        return {"expression": value.text}
    if isinstance(value, tuple):
        return [_jsonable(item) for item in value]
    return value


def _from_jsonable(value: Any) -> Value:
    if isinstance(value, dict):
        return Expression(value["expression"])
    return freeze(value)
