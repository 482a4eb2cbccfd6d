"""What planner, coder and observer are shown of a design under way."""

from __future__ import annotations

from collections.abc import Iterator

from genesys.gau import Unit, UnitTree
from genesys.gau.library import library
from genesys.gau.tree import split_path
from genesys.roles.brief import Brief
from genesys.roles.grafting import Draft, Place, donors, most_units, unwritten
from genesys.roles.packing import count_tokens
from genesys.roles.prompt import fenced
from genesys.roles.wording import findings_text, line, place_name, places_text
from genesys.roles.work import Coding

NEIGHBOUR_TOKENS = 8_000  # of the sources around a slot

MODES = {
    "mutation": "One unit of parent 1 is written anew, with children of its own; all other units stay as they are.",
    "crossover": "A unit is written that joins units of the parents, and its slots are filled from them by themselves. A slot "
    "that says what it accepts is given a unit of such a kind: of parent 1 if the slot's name ends in _1, of parent 2 if in _2, "
    "else of the parents in turn, the last one first, mixers before norms; one from a slot of the same name before others. "
    "Leave `accepts` out for a slot whose unit is to be written.",
    "scratch": "A block is written from nothing: the root first, then what its slots ask for.",
}


def draft_text(draft: Draft, brief: Brief, places: tuple[Place, ...]) -> str:
    """The tree as far as it goes: its places, which of them are protected when one of some is written, what was given up."""
    if draft.tree is None:
        parts = ["Nothing is written yet."]
    else:
        protected = ", ".join(map(place_name, unwritten(draft, places)))
        parts = [places_text(draft.tree), f"Protected, byte for byte: {protected or 'nothing'}."]
    for number, giver in enumerate(donors(brief), 1):
        parts.append(f"What parent {number} can give:")
        parts += [f"- {path}: {declarations(place.unit)}" for path, place in giver.walk() if path]
    parts.append(f"A finished tree has at most {most_units(brief)} units.")
    parts += [f"Given up before: {line(setback, 1000)}" for setback in draft.setbacks]
    return "\n".join(parts)


def neighbours_text(draft: Draft, place: Place, most: int = NEIGHBOUR_TOKENS) -> str:
    """Units around a place, the nearest first: the one there now, whose slot it is, its children, its siblings, what was
    written; in full as long as there is room, else what they declare."""
    shown = []
    for role, unit in _neighbours(draft, place):
        text = fenced("unit", f"{unit.name}, {role}", unit.source)
        if count_tokens(text) > most:
            text = fenced("unit", f"{unit.name}, {role}, declarations only", declarations(unit))
        most -= count_tokens(text)
        shown.append(text)
    return "\n".join(shown) or "None."


def declarations(unit: Unit) -> str:
    """A unit on one line: kind, slots, names in Z, and what it is for."""
    slots = ", ".join(f"{slot.name} ({'/'.join(slot.accepts) or 'any'})" for slot in unit.slots)
    declared = {"slots": slots, "reads": ", ".join(unit.reads), "writes": ", ".join(unit.writes)}
    parts = [f"{what} {names}" for what, names in declared.items() if names]
    return line("; ".join([f"{unit.name} ({unit.kind})", *parts, unit.doc.partition("\n")[0]]))


def reusable(draft: Draft, brief: Brief, name: str) -> UnitTree | None:
    """A subtree of the parents or of the draft whose unit has that name, or a unit of the library."""
    trees = [tree for tree in (*brief.parents, draft.tree) if tree is not None]
    found = (subtree for tree in trees for path, subtree in tree.walk() if path and subtree.unit.name == name)
    unit = library().get(name)
    return next(found, UnitTree(unit) if unit is not None else None)


def reusable_text(places: tuple[Place, ...], brief: Brief) -> str:
    """Units that could stand in one of some places, a line each."""
    kinds = {kind for place in places for kind in place.accepts}
    units = dict(library()) | {unit.name: unit for tree in brief.parents for unit in tree.units()}
    fitting = [unit for unit in units.values() if unit.kind in kinds or not kinds]
    return "\n".join(f"- {declarations(unit)}" for unit in fitting) or "None."


def last_attempt_text(last: Coding | None) -> str:
    """What was wrong with the code before."""
    if last is None:
        return "None yet."
    parts = [fenced("unit", "last attempt", last.code)] if last.code else []
    if last.reason:
        parts.append(line(last.reason, 1000))
    parts.append(f"Findings:\n{findings_text(last.findings)}")
    if last.observation is not None:
        seen = last.observation
        parts.append(f"The observer rated it {seen.rating:g} of 5.")
        parts.append(fenced("review", "observer", f"{seen.review}\nSuggestions: {seen.suggestions}"))
    return "\n".join(parts)


def setback_text(place: Place, last: Coding | None) -> str:
    """Why a unit was given up, in a sentence."""
    if last is None:
        return f"The unit at {place_name(place.path)} was given up."
    errors = [str(finding) for finding in last.findings if finding.severity == "error"]
    why = next(iter(errors), last.reason or "the observer's rating is below the bar")
    return f"The unit at {place_name(place.path)} was given up: {why}"


def _neighbours(draft: Draft, place: Place) -> Iterator[tuple[str, Unit]]:
    seen: set[Unit] = set()
    for role, unit in _all_neighbours(draft, place):
        if unit not in seen:
            seen.add(unit)
            yield role, unit


def _all_neighbours(draft: Draft, place: Place) -> Iterator[tuple[str, Unit]]:
    tree = draft.tree
    if tree is None:
        return
    places = dict(tree.walk())
    if (here := places.get(place.path)) is not None:
        yield "which stands there now", here.unit
    if place.path:
        parent = split_path(place.path)[0]
        yield f"whose slot it is, at {place_name(parent)}", places[parent].unit
    if here is not None:
        yield from ((f"child in its slot {slot}", child.unit) for slot, child in here.children)
    if place.path:
        yield from ((f"beside it, in slot {slot}", child.unit) for slot, child in places[parent].children)
    for path in [written.path for written in draft.written if written.path in places]:
        yield f"written before, at {place_name(path)}", places[path].unit
