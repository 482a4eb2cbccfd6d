"""Equal normal forms for what only looks different; unequal ones for whatever may compute something else."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from genesys.gau import Unit, UnitTree, parse_unit
from genesys.gau.library import SEED_NAMES, library, seed_design, unit_named
from genesys.gau.normal_form import normal_form, unit_form
from tests.gau.strategies import trees

WORDS = st.sampled_from(["alpha", "beta", "inner_", "X1", "torch_", "v1", "g0"])
LOCALS = ("Y", "dZ", "B", "L", "D", "q", "k", "v", "gate", "up", "X", "Z", "t", "h")

GATE = '''
import torch
from torch import nn

SCALE = 2.0

def squash(value, power):
    return torch.tanh(SCALE * value) ** power

class Gate(nn.Module):
    """Gate by a squashed map."""

    kind = "channel"

    def __init__(self, d: int, ctx, *, rank: int = 4, bias: bool = False):
        super().__init__()
        self.down, self.up = nn.Linear(d, rank, bias=bias), nn.Linear(rank, d)

    def forward(self, X, Z):
        low = self.down(X)
        return X * squash(self.up(low), 2), {}
'''

SAME = {
    "comment": ("low = self.down(X)", "low = self.down(X)  # the bottleneck"),
    "docstring": ("Gate by a squashed map.", "Another text."),
    "layout": ("squash(self.up(low), 2)", "squash(\n            self.up(low),\n            2,\n        )"),
    "unit name": ("class Gate", "class Sluice"),
    "local": (r"\blow\b", "narrow"),
    "argument": (r"\bX\b", "hidden"),
    "helper": (r"\bsquash\b", "press"),
    "helper's argument": (r"\bvalue\b", "x"),
    "constant's name": (r"\bSCALE\b", "TWO"),
    "import": ("from torch import nn", "import torch.nn as nn"),
    "one import": ("import torch\n", "import torch, math\n"),
    "annotation": ("rank: int", "rank: float"),
    "numbers": ("SCALE = 2.0", "SCALE = 2.00"),
    "a test": (r"\Z", "\ndef test_gate(make):\n    assert make(d=8)\n"),
    "nothing": ("low = self", "pass\n        low = self"),
}

OTHER = {
    "constant": ("SCALE = 2.0", "SCALE = 2.5"),
    "type of a constant": ("SCALE = 2.0", "SCALE = 2"),
    "default": ("rank: int = 4", "rank: int = 8"),
    "hyperparameter": (r"\brank\b", "width"),
    "order of arguments": ("squash(value, power)", "squash(power, value)"),
    "attribute": (r"self\.down\(X\)", "self.up(X)"),
    "function": ("tanh", "sigmoid"),
    "kind": ('"channel"', '"mixer"'),
    "shadowed import": ("low = self.down(X)", "low = torch = self.down(X)"),
    "another module": ("import torch\n", "import math as torch\n"),
    "mode": ("super().__init__()", "super().__init__()\n        self.eval()"),
}


@pytest.mark.parametrize("change", SAME)
def test_what_does_not_matter_leaves_the_form(change: str) -> None:
    edited = changed(*SAME[change])
    assert edited != GATE and parse_unit(edited) != parse_unit(GATE)
    assert unit_form(parse_unit(edited)) == unit_form(parse_unit(GATE))


@pytest.mark.parametrize("change", OTHER)
def test_whatever_may_matter_changes_the_form(change: str) -> None:
    edited = changed(*OTHER[change])
    assert edited != GATE
    assert form_of(edited) != form_of(GATE)


def test_a_value_counts_wherever_it_is_written() -> None:
    wide = re.sub("rank: int = 4", "rank: int = 8", GATE)
    assert normal_form(UnitTree(parse_unit(GATE), (("rank", 8),))) == form_of(wide)


def test_names_that_a_call_spells_out_stay() -> None:
    by_name = GATE.replace("squash(self.up(low), 2)", "squash(value=self.up(low), power=2)")
    exchanged = by_name.replace("squash(value, power)", "squash(power, value)")
    renamed = re.sub(r"\bvalue\b", "x", by_name)
    assert len({form_of(by_name), form_of(re.sub(r"\bvalue\b(?!=)", "x", by_name)), form_of(renamed)}) == 3
    swapped = exchanged.replace("SCALE * value) ** power", "SCALE * power) ** value")
    assert form_of(swapped) != form_of(by_name), "it computes something else"


def test_a_computed_default_is_not_confused_with_another() -> None:
    text = GATE.replace("SCALE = 2.0", "A = 1\nB = 2").replace("SCALE", "A")
    first = text.replace("rank: int = 4", "rank: int = A")
    other = first.replace("A = 1\nB = 2", "B = 1\nA = 2")
    assert form_of(first) != form_of(other)


def test_a_name_that_is_bound_inside_and_outside_is_the_outer_one() -> None:
    text = GATE.replace("low = self.down(X)", "low = (lambda value: value)(self.down(X)) * SCALE")
    clashing = text.replace("lambda value: value", "lambda value: SCALE")
    assert len({form_of(GATE), form_of(text), form_of(clashing)}) == 3


@pytest.mark.parametrize("name", SEED_NAMES)
def test_units_that_are_renamed_leave_a_designs_form(name: str) -> None:
    tree = seed_design(name)
    other = tree
    for path, place in tree.walk():
        other = other.replace(path, renamed(place.unit, f"Other{place.unit.name}"))
    assert other.design_id != tree.design_id and normal_form(other) == normal_form(tree)


def test_the_librarys_units_all_differ() -> None:
    forms = [unit_form(unit) for unit in library().values()]
    assert len(set(forms)) == len(forms)


@settings(max_examples=60, deadline=None)
@given(unit=st.sampled_from(sorted(library())), local=st.sampled_from(LOCALS), word=WORDS)
def test_a_local_may_have_any_free_name(unit: str, local: str, word: str) -> None:
    """Where a name is only ever a plain variable, another free name gives the same form."""
    source = unit_named(unit).source
    used_otherwise = rf"\.{local}\b|['\"]{local}['\"]|\b{local}=|\*, .*\b{local}:"
    if re.search(rf"\b{word}\b", source) or re.search(used_otherwise, source):
        return
    doc = unit_named(unit).doc
    code = source.replace(doc, "the doc") if doc in source else source
    again = re.sub(rf"(?<![.\w]){local}(?!\w)", word, code)
    try:
        assert unit_form(parse_unit(again)) == unit_form(unit_named(unit))
    except ValueError:
        assert local in ("d", "ctx")


@settings(max_examples=40, deadline=None)
@given(tree=trees())
def test_layout_and_comments_never_count(tree: UnitTree) -> None:
    spaced = tree
    for path, place in tree.walk():
        spaced = spaced.replace(path, parse_unit(f"# a note\n\n{place.unit.source}\n\n# the end\n"))
    assert normal_form(spaced) == normal_form(tree)


@settings(max_examples=40, deadline=None)
@given(name=st.sampled_from(SEED_NAMES), data=st.data())
def test_any_changed_number_counts(name: str, data: st.DataObject) -> None:
    tree = seed_design(name)
    places = [
        (path, h) for path, place in tree.walk() for h, v in place.resolved().items() if isinstance(v, (int, float))
    ]
    path, hyperparameter = data.draw(st.sampled_from(places))
    value = data.draw(st.integers(2, 100).map(lambda n: n + 0.25))
    assert normal_form(tree.set(path, hyperparameter, value)) != normal_form(tree)


def test_a_text_in_the_published_convention_keeps_its_names() -> None:
    text = 'class Old(GAUBase):\n    """Doc."""\n    def _forward(self, X, **Z):\n        return X, Z\n\n'
    mark = '# genesys-published: {"class": "Old", "kind": "mixer", "reads": [], "slots": [], "writes": []}\n'
    old, other = parse_unit(text + mark), parse_unit((text + mark).replace("Old", "New"))
    assert unit_form(old) != unit_form(other)
    assert unit_form(old) == unit_form(parse_unit(text.replace("        return", "\n        return") + mark))


def changed(old: str, new: str) -> str:
    """The text with an edit; one with a backslash is a pattern."""
    return re.sub(old, new, GATE) if "\\" in old else GATE.replace(old, new)


def form_of(source: str) -> str:
    return normal_form(UnitTree(parse_unit(source)))


def renamed(unit: Unit, name: str) -> Unit:
    """The unit under another name; what its errors say stays."""
    return parse_unit(re.sub(rf"\b{unit.name}\b(?! needs)", name, unit.source))
