"""Partial trees: open slots filled with typed placeholders, so that what is there can be checked."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

from genesys.checker.rules import RULES
from genesys.errors import Finding
from genesys.gau import UnitTree
from genesys.model.unit_tests import placeholder

_BLAMELESS = frozenset({"context", "size-coarse"})
"""Rules that a placeholder may break for the design: it mixes nothing, and it has few parameters."""


def fill_open_slots(tree: UnitTree) -> tuple[UnitTree, list[Finding]]:
    """The tree with a placeholder of the first accepted kind in each open slot, and a warning for each.

    A placeholder is the identity where a norm or a position goes, else a linear map of each position.
    """
    findings: list[Finding] = []
    for path in tree.open_slots():
        parent, _, name = path.rpartition(".")
        unit = tree.at(parent).unit
        slot = unit.slot(name)
        assert slot is not None, "open slots are declared slots"
        kind = slot.accepts[0] if slot.accepts else "mixer"
        tree = tree.graft(path, placeholder(kind))
        findings.append(
            RULES["placeholder"].finding(f"slot {name!r} was filled with a {kind} placeholder", "a unit in every slot",
                                         unit=unit.name, path=path)
        )  # fmt: skip
    return tree, findings


def excuse(findings: Iterable[Finding]) -> Iterator[Finding]:
    """Findings on a filled tree: what a placeholder may be to blame for warns only."""
    for finding in findings:
        yield replace(finding, severity="warning") if finding.rule in _BLAMELESS else finding
