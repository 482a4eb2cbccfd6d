"""What design files look like: wrapped in this way or that, with parts missing, or no design at all."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from genesys.errors import ConfigError
from genesys.gau import UnitTree
from genesys.importer import ImportedDesign, import_designs

HEAD = "from model_discovery.model.utils.modules import GAUBase\n"


def code(name: str, *children: str, arguments: str = "", body: str = "return X") -> str:
    lines = [
        f"class {name}(GAUBase):",
        f'    """{name}, as short as can be."""',
        f"    def __init__(self, embed_dim, block_loc, kwarg_all, {arguments}device=None, dtype=None, **kwargs):",
        "        super().__init__(embed_dim, block_loc, kwarg_all)",
        *(
            f"        self.{c.lower()} = {c}(embed_dim=embed_dim, block_loc=block_loc, kwarg_all=kwarg_all)"
            for c in children
        ),
        "    def _forward(self, X, **Z):",
        f"        {body}",
    ]
    return HEAD + "\n".join(lines) + "\n"


def tree(**units: str | Mapping[str, Any]) -> dict[str, Any]:
    entries = {name: {"code": unit, "children": []} if isinstance(unit, str) else unit for name, unit in units.items()}
    return {"name": "design", "root": next(iter(units)), "units": entries}


def imported(folder: Path, data: Any) -> ImportedDesign:
    file = folder / "implementation.json"
    file.write_bytes(data if isinstance(data, bytes) else json.dumps(data).encode())
    (design,) = import_designs(folder)
    return design


PLAIN = tree(Root=code("Root", "Leaf"), Leaf=code("Leaf"))


@pytest.mark.parametrize(
    "data",
    [
        PLAIN,
        {"implementation": PLAIN, "status": "implemented"},
        {"implementation": json.dumps(PLAIN)},
        {"design": {"implementation": {"tree": PLAIN}}},
        PLAIN | {"root": {"spec": json.dumps({"unitname": "Root"})}},
        PLAIN | {"root": None},
        PLAIN
        | {"root": None, "units": {n: u | {"children": ["Leaf"] * (n == "Root")} for n, u in PLAIN["units"].items()}},
    ],
    ids=["bare", "wrapped", "as text", "deep", "root with a spec", "no root", "no root but children"],
)
def test_the_tree_is_found_whatever_wraps_it(tmp_path: Path, data: Any) -> None:
    found = imported(tmp_path, data).tree
    assert found is not None
    assert [path for path, _ in found.walk()] == ["", "Leaf"]
    assert (found.kind, found.unit.name) == ("block", "Root")


@pytest.mark.parametrize(
    ("data", "measured"),
    [
        (b"{", "JSONDecodeError"),
        ([], "no mapping with `units`"),
        ({"status": "failed", "implementation": None}, "no mapping with `units`"),
        (tree(Root={"code": None}), "no unit has any code"),
        (b"\xff{", "UnicodeDecodeError"),
    ],
    ids=["cut", "list", "nothing implemented", "no code", "not UTF-8"],
)
def test_a_file_without_a_design_is_a_finding(tmp_path: Path, data: Any, measured: str) -> None:
    design = imported(tmp_path, data)
    (finding,) = design.findings
    assert (design.outcome, finding.rule) == ("failed", "design-file")
    assert measured in finding.measured


def test_a_root_without_code_is_a_finding(tmp_path: Path) -> None:
    (finding,) = imported(tmp_path, PLAIN | {"root": "Rooot"}).findings
    assert finding.rule == "root" and "no code for the root unit 'Rooot'" in finding.measured


def test_a_text_without_a_unit_is_a_finding(tmp_path: Path) -> None:
    (finding,) = imported(tmp_path, tree(Root="VALUE = 3\n")).findings
    assert (finding.rule, finding.unit, finding.required) == ("unit-class", "Root", "class Root(GAUBase)")


def test_no_such_path_is_the_users_mistake(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no such file or folder"):
        list(import_designs(tmp_path / "absent"))


def test_any_json_file_of_a_folder_is_tried_where_none_has_the_usual_name(tmp_path: Path) -> None:
    for name in ("b", "a"):
        (tmp_path / f"{name}.json").write_text(json.dumps(PLAIN | {"name": name}))
    assert [design.name for design in import_designs(tmp_path)] == ["a", "b"]


def test_the_title_comes_from_the_proposal_beside_the_design(tmp_path: Path) -> None:
    (tmp_path / "proposal.json").write_text(json.dumps({"modelname": "Tidal Memory", "abstract": "..."}))
    assert imported(tmp_path, PLAIN).provenance["title"] == "Tidal Memory"


def test_units_that_nothing_builds_are_named_as_unused(tmp_path: Path) -> None:
    design = imported(tmp_path, tree(Root=code("Root", "Leaf"), Leaf=code("Leaf"), Spare=code("Spare")))
    assert design.provenance["unused"] == ["Spare"] and design.outcome == "imported"


_TEXTS = st.sampled_from([code("Root", "Leaf"), code("Leaf"), "1 +", "Root", "[]", "{}", "(", "Leaf"]) | st.text(
    max_size=6
)
_KEYS = st.sampled_from(
    [
        "units",
        "root",
        "name",
        "implementation",
        "proposal",
        "status",
        "code",
        "children",
        "args",
        "gautests",
        "Root",
        "Leaf",
    ]
)
_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | _TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_KEYS, inner, max_size=4),
    max_leaves=10,
)
_UNITS = st.dictionaries(_KEYS, st.dictionaries(_KEYS, _VALUES, max_size=3) | _VALUES, min_size=1, max_size=3)


@given(
    data=_VALUES
    | st.fixed_dictionaries({"units": _UNITS}, optional={"root": _VALUES, "name": _VALUES, "proposal": _VALUES})
)
@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_any_json_gives_a_design_or_findings(data: Any) -> None:
    with tempfile.TemporaryDirectory() as folder:
        design = imported(Path(folder), data)
    if design.tree is None:
        assert design.outcome == "failed" and design.findings
    else:
        assert UnitTree.from_json(design.to_json()).design_id == design.tree.design_id


def test_a_value_that_is_no_number_leaves_the_default(tmp_path: Path) -> None:
    entry = {"code": code("Root", arguments="rate=0.5, "), "args": {"rate": float("nan")}}
    found = imported(tmp_path, tree(Root=entry)).tree
    assert found is not None and found.resolved()["rate"] == 0.5
