"""What the import reads off a text: children, names of Z, kinds, hyperparameters, helpers of other units."""

from __future__ import annotations

import ast
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from genesys.errors import UnitError
from genesys.gau import Expression, Unit, UnitTree, compose, parse_composed, parse_unit
from genesys.gau.published import PUBLISHED_MARK, published_text
from genesys.importer.names import read_text
from genesys.model import ModelShape, build_model
from tests.gau.strategies import sources
from tests.importer.test_files import HEAD, code, imported, tree


def root(folder: Path, text: str, **others: str) -> Unit:
    found = imported(folder, tree(Root=text, **others)).tree
    assert found is not None
    return found.unit


def test_one_class_under_two_parents_is_one_unit_at_two_places(tmp_path: Path) -> None:
    design = imported(tmp_path, tree(A=code("A", "B", "N"), B=code("B", "N"), N=code("N"))).tree
    assert design is not None
    assert [path for path, _ in design.walk()] == ["", "B", "B.N", "N"]
    assert len(design.units()) == 3


def test_a_unit_within_itself_leaves_an_open_slot_and_a_warning(tmp_path: Path) -> None:
    design = imported(tmp_path, tree(A=code("A", "B"), B=code("B", "A")))
    assert design.tree is not None and design.tree.open_slots() == ("B.A",)
    (warning,) = design.findings
    assert (warning.rule, warning.unit, warning.severity) == ("recursion", "B", "warning")
    assert "child 'A' contains this unit" in warning.measured


def test_a_tree_with_too_many_places_is_refused(tmp_path: Path) -> None:
    names = [f"U{i}" for i in range(24)]
    units = {name: code(name, *names[i + 1 : i + 3]) for i, name in enumerate(names)}
    (finding,) = imported(tmp_path, tree(**units)).findings
    assert (finding.rule, finding.measured) == ("size", "more than 512 places in the tree")


def test_a_slot_is_a_name_that_the_text_uses_and_does_not_bind(tmp_path: Path) -> None:
    own = code("Own").replace("GAUBase):", "GAUBase):  # a class of the text's own")
    text = own + code("Root", "Own", "Used", "Missing").removeprefix(HEAD)
    unit = root(tmp_path, text, Own=code("Own"), Used=code("Used"), Unused=code("Unused"))
    assert [slot.name for slot in unit.slots] == ["Missing", "Used"]


def test_a_child_is_found_by_its_class_where_the_unit_has_another_name(tmp_path: Path) -> None:
    design = imported(tmp_path, tree(Root=code("Root", "FastNorm"), Norm=code("FastNorm"))).tree
    assert design is not None and [path for path, _ in design.walk()] == ["", "FastNorm"]


def test_names_of_z_are_read_off_the_text(tmp_path: Path) -> None:
    body = "Z['a'] = X; Z.update(b=X); extra = dict(c=X); return X, {'d': X, **extra}"
    text = code("Root", body=body).replace("X, **Z", "X, seen, state=None, *, mask=None, **Z")
    unit = root(tmp_path, text)
    assert unit.reads == ("seen?", "state?", "mask?")
    assert unit.writes == ("a", "b", "c", "d")


@pytest.mark.parametrize(
    ("name", "kind"),
    [("RMSNorm", "norm"), ("RotaryPositionalEmbeddings", "position"), ("GatedMLP", "channel"), ("TimeMix", "mixer")],
)
def test_a_kind_is_guessed_from_the_name(tmp_path: Path, name: str, kind: str) -> None:
    design = imported(tmp_path, tree(Root=code("Root", name), **{name: code(name)})).tree
    assert design is not None and design.at(name).kind == kind


def test_defaults_that_are_code_survive_and_values_of_the_file_are_set(tmp_path: Path) -> None:
    arguments = "need, rate=math.log(2), table={'a': 1}, width=8, name='x', flag=True, size=None, late=0.5, "
    text = "import math\n" + code("Root", arguments=arguments)
    args = {"rate": 0.7, "table": {"a": 2}, "width": 16, "name": "y", "flag": 3, "size": 4, "need": 5, "other": 1}
    entry = {"code": text, "children": [], "args": args}
    found = imported(tmp_path, tree(Root=entry)).tree
    assert found is not None
    defaults = {h.name: h.default for h in found.unit.hyperparameters}
    assert defaults["rate"] == Expression("math.log(2)") and defaults["table"] == Expression("{'a': 1}")
    assert defaults["late"] == 0.5 and defaults["need"] is None
    assert dict(found.hyperparameters) == {"name": "y", "need": 5, "size": 4, "width": 16}


def test_helpers_of_other_units_are_borrowed_with_what_they_need(tmp_path: Path) -> None:
    helper = "import math\nSCALE = math.sqrt(2)\n\ndef doubled(x):\n    return SCALE * SCALE * x\n"
    unit = root(tmp_path, code("Root", body="return doubled(X)"), Other=helper + code("Other"))
    assert unit.published is not None
    assert [text.split("\n")[0] for text in unit.published.borrowed] == [
        "import math",
        "SCALE = math.sqrt(2)",
        "def doubled(x):",
    ]


def test_a_helper_class_of_another_text_is_borrowed_and_no_child(tmp_path: Path) -> None:
    both = code("Other") + code("Helper").removeprefix(HEAD)
    unit = root(tmp_path, code("Root", "Helper", "Other"), Other=both)
    assert [slot.name for slot in unit.slots] == ["Other"]
    assert unit.published is not None and unit.published.borrowed[0].startswith("class Helper(GAUBase):")


@pytest.mark.parametrize("line", ["from .leaf import Leaf", "from model_discovery.model.library import Leaf"])
def test_a_unit_imported_as_if_it_were_a_module_is_a_child(tmp_path: Path, line: str) -> None:
    design = imported(tmp_path, tree(Root=f"{line}\n" + code("Root", "Leaf"), Leaf=code("Leaf"))).tree
    assert design is not None and design.open_slots() == () and design.child("Leaf") is not None
    model = build_model(design, ModelShape(vocab_size=8, d_model=8, n_blocks=1))
    assert type(model.blocks[0].unit.leaf).__name__ == "Leaf"


def test_free_names_are_those_that_only_the_outside_can_give() -> None:
    text = "import a\nfrom b import c as d\nE = [i for i in range(3)]\ndef f(g):\n    global k\n    k = h(g, a, d, E)\n    return k\n"
    assert read_text(text).free == {"h"}


MALFORMED = [
    ("not json", "measured not json; required a JSON object"),
    ('{"class": "A"}', "required a class name and a known kind"),
    ('{"class": "A", "kind": "mixer", "slots": "B"}', "required a list of texts"),
    ('{"class": "A", "kind": "mixer", "slots": ["B c"]}', "required identifiers"),
    ('{"class": "B", "kind": "mixer"}', "no class 'B' in the text"),
]


@pytest.mark.parametrize(("line", "message"), MALFORMED)
def test_a_malformed_last_line_is_a_finding(line: str, message: str) -> None:
    with pytest.raises(UnitError, match=message):
        parse_unit(f"{code('A')}\n{PUBLISHED_MARK}{line}\n")


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8) | st.sampled_from(["mixer", "A"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(
        st.sampled_from(["class", "kind", "slots", "reads", "writes", "borrowed"]), inner, max_size=6),
    max_leaves=12,
)  # fmt: skip


@given(line=_JSON | st.text(max_size=40), text=st.sampled_from([code("A"), "A = 1\n", ""]))
@settings(max_examples=200, deadline=None)
def test_any_last_line_gives_a_unit_or_findings(line: Any, text: str) -> None:
    try:
        unit = parse_unit(f"{text}\n{PUBLISHED_MARK}{line if isinstance(line, str) else json.dumps(line)}\n")
    except UnitError as error:
        assert error.findings
    else:
        assert unit.published is None or unit.name == "A"


@given(text=sources(n_slots=0), borrowed=st.lists(sources(n_slots=0), max_size=2))
@settings(max_examples=60, deadline=None)
def test_a_published_text_survives_composition_whatever_its_strings_hold(text: str, borrowed: list[str]) -> None:
    name = next(c.name for c in ast.parse(text).body if isinstance(c, ast.ClassDef))
    text = "from __future__ import annotations\nfrom torch import *\n" + text
    unit = parse_unit(published_text(text, name=name, kind="mixer", slots=("Norm",), borrowed=tuple(borrowed)))
    design = UnitTree(unit, (), (("Norm", UnitTree(unit)),))
    assert parse_composed(compose(design)) == design
    assert UnitTree.from_json(json.loads(json.dumps(design.to_json()))) == design
