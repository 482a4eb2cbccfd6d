"""Partial trees: open slots are findings, or are filled with placeholders that are said and excused."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from genesys.checker import check_request, is_sane
from genesys.checker.job import check
from genesys.checker.partial import fill_open_slots
from genesys.checker.surroundings import in_block
from genesys.gau import UnitTree, parse_unit
from genesys.gau.library import SEED_NAMES, library, seed_design
from genesys.ladder import CPU_SCALES


def report(
    tree: UnitTree, *, partial: bool, stages: tuple[str, ...] = ("gradient", "run", "causality")
) -> dict[str, Any]:
    torch.set_num_threads(1)
    with torch.random.fork_rng():
        return check(check_request(tree, CPU_SCALES[:1], 257, stages=stages, partial=partial))


def rules(report: dict[str, Any], severity: str) -> list[str]:
    return sorted(finding["rule"] for finding in report["findings"] if finding["severity"] == severity)


@pytest.mark.parametrize("slot", ["mixer", "channel", "norm_mixer", "mixer.position"])
def test_an_open_slot_is_an_error_or_is_filled(slot: str) -> None:
    tree = seed_design("gpt").prune(slot)
    whole, partial = report(tree, partial=False), report(tree, partial=True)
    assert rules(whole, "error") == ["open-slot"] and whole["findings"][0]["path"] == slot
    assert rules(partial, "error") == [] and is_sane(partial)
    (filled,) = [f for f in partial["findings"] if f["rule"] == "placeholder"]
    assert filled["path"] == slot and filled["severity"] == "warning" and "placeholder" in filled["measured"]
    assert partial["design"] == tree.design_id, "the verdict is on the tree that was sent in"


def test_a_bare_block_is_filled_whole() -> None:
    tree = UnitTree(library()["PreNormBlock"])
    filled, findings = fill_open_slots(tree)
    assert filled.open_slots() == () and len(findings) == len(tree.open_slots()) == 4
    assert [filled.at(f.path).kind for f in findings] == ["norm", "mixer", "norm", "channel"]
    assert is_sane(report(tree, partial=True))


def test_a_placeholder_excuses_no_other_fault() -> None:
    unit = parse_unit('''
from torch import nn

class Ahead(nn.Module):
    """Looks ahead. Shapes: X (B, L, D) -> Y (B, L, D)."""
    kind = "mixer"
    slots = {"inner": {"doc": "what is moved", "accepts": ("channel",)}}

    def __init__(self, d: int, ctx):
        super().__init__()
        self.inner = ctx.child("inner")

    def forward(self, X, Z):
        return self.inner(X, Z)[0].flip(1), {}
''')
    assert rules(report(seed_design("gpt").graft("mixer", UnitTree(unit)), partial=True), "error") == ["causality"]


def test_context_is_not_asked_of_a_placeholder_but_of_a_unit() -> None:
    tree = seed_design("gpt").prune("mixer")
    partial = report(tree, partial=True, stages=("gradient",))
    assert "context" in rules(partial, "warning")
    lonely = tree.graft("mixer", fill_open_slots(tree)[0].at("mixer"))
    assert "context" in rules(report(lonely, partial=True, stages=("gradient",)), "error")


@pytest.mark.parametrize("name", SEED_NAMES)
def test_a_whole_tree_is_the_same_either_way(name: str) -> None:
    tree = seed_design(name)
    assert fill_open_slots(tree) == (tree, [])


@pytest.mark.parametrize("name", sorted(library()))
def test_a_unit_alone_comes_in_a_whole_block(name: str) -> None:
    unit = library()[name]
    tree = in_block(unit)
    assert tree.kind == "block" and tree.open_slots() == ()
    assert unit in tree.units()
