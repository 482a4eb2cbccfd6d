"""An exception of generated code as a finding: which unit, which line, where in the tree."""

from __future__ import annotations

import re
import traceback
from collections.abc import Iterator, Sequence
from itertools import groupby
from types import TracebackType

from genesys.checker.rules import RULES
from genesys.errors import Finding
from genesys.gau import UnitTree

_UNIT_FILE = re.compile(r"<unit (\w+) ([0-9a-f]{8})>")
MAX_MESSAGE = 500

Frame = tuple[str, str, int]
"""Class name and first eight digits of the id of a unit, and a line of its text."""


def failure_finding(rule: str, error: BaseException, tree: UnitTree, required: str) -> Finding:
    """The finding of a rule about an exception; it names the innermost unit whose code the exception passed."""
    frames = list(_unit_frames(error.__traceback__)) or _frames_of_syntax(error)
    name, _, line = frames[-1] if frames else (tree.unit.name, "", 0)
    return RULES[rule].finding(
        _message(error), required, unit=name, path=_path(tree, [id_ for _, id_, _ in frames]), line=line or None
    )


def _message(error: BaseException) -> str:
    try:
        text = str(error)
    except BaseException:  # the text is made by generated code, which may raise here too
        text = "(an exception whose text cannot be made)"
    return f"{type(error).__name__}: {text}"[:MAX_MESSAGE]


def _unit_frames(trace: TracebackType | None) -> Iterator[Frame]:
    """The frames of generated code, outermost first."""
    for frame, line in traceback.walk_tb(trace):
        match = _UNIT_FILE.fullmatch(frame.f_code.co_filename)
        if match:
            yield match[1], match[2], line


def _frames_of_syntax(error: BaseException) -> list[Frame]:
    """A syntax that `ast` takes and the compiler refuses has no frame, but says its place."""
    match = _UNIT_FILE.fullmatch(getattr(error, "filename", None) or "") if isinstance(error, SyntaxError) else None
    return [(match[1], match[2], getattr(error, "lineno", None) or 0)] if match else []


def _path(tree: UnitTree, ids: list[str]) -> str:
    """The one place whose units, from the root down, are those of the frames; "" where none or several are.

    A unit's own tests build it alone: where no frame is the root's, the unit's place is enough.
    """
    chains = list(_chains(tree))
    frames = _distinct(ids)
    found = [path for path, units in chains if _distinct(units) == frames]
    if not found and frames:
        found = [path for path, units in chains if units[-1] == frames[-1]]
    return found[0] if len(found) == 1 else ""


def _chains(tree: UnitTree, path: str = "", above: tuple[str, ...] = ()) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Each path with the ids of the units from the root to it."""
    units = (*above, tree.unit.id[:8])
    yield path, units
    for slot, child in tree.children:
        yield from _chains(child, f"{path}.{slot}" if path else slot, units)


def _distinct(ids: Sequence[str]) -> list[str]:
    """Without repeats in a row: a unit's methods that call each other are one place."""
    return [id_ for id_, _ in groupby(ids)]
