"""The ablations that ship: each can be read, and differs from the base where its name says."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.evolve import focus_of
from cluster.planning import make_plan
from genesys.config import RunConfig, config_from_mapping, load_config
from genesys.config.layering import lay_over, read_layered
from genesys.errors import ConfigError
from genesys.evolution.operators import propose
from genesys.gau.library import SEED_NAMES, library, seed_design
from genesys.storage import RunStore

FOLDER = Path(__file__).parents[2] / "configs" / "ablations"
NAMES = {
    "full", "no_feedback", "no_selection", "both", "no_literature", "llm_random_selection", "nas_expert", "no_seeds",
    "no_reviewer", "no_observer", "no_planner", "direct", "greedy", "rules_only", "random",
}  # fmt: skip
BASE = load_config(FOLDER / "base.yaml")


def named(name: str) -> RunConfig:
    return load_config(FOLDER / f"{name}.yaml")


def test_all_ship() -> None:
    assert {path.stem for path in FOLDER.glob("*.yaml")} == NAMES | {"base"}


@pytest.mark.parametrize("name", sorted(NAMES))
def test_each_can_be_run_and_differs_from_the_base(name: str, tmp_path: Path) -> None:
    config = named(name)
    make_plan(config, RunStore(tmp_path / name))
    assert (config == BASE) == (name == "full")
    assert config.resolved_ladder() == BASE.resolved_ladder(), "all on the same ladder"
    assert config.agents.models == BASE.agents.models and config.agents.caps == BASE.agents.caps


@pytest.mark.parametrize(
    ("name", "limits"),
    [
        ("no_feedback", {"feedback": False}), ("both", {"feedback": False}), ("no_literature", {"literature": False}),
        ("no_reviewer", {"reviewer": False}), ("no_observer", {"observer": False}), ("no_planner", {"planner": False}),
        ("direct", {"flow": "direct"}), ("greedy", {"beam": 1, "samples": 1}), ("no_selection", {}), ("no_seeds", {}),
    ],
)  # fmt: skip
def test_limits_differ_as_the_name_says(name: str, limits: dict[str, object]) -> None:
    assert named(name).agents.limits == replace(BASE.agents.limits, **limits)


def test_the_expert_varies_known_blocks_and_their_numbers() -> None:
    """No unit of a proposal is neither in the alphabet nor of the parent; nothing is wrapped, removed or regrown."""
    config, edits = named("nas_expert"), set()
    focus, rng = focus_of(config.designers), Random(1)
    alphabet = [unit for name, unit in library().items() if name in focus.units]
    for k in range(40):
        parent = seed_design(SEED_NAMES[k % 5])
        made = propose("mutation", (parent,), alphabet, rng, focus)
        edits.add(made.edit)
        assert {unit.name for unit in made.tree.units()} <= {*focus.units, *(unit.name for unit in parent.units())}
    assert edits == {"swap_unit", "move_hyperparameter"}
    assert propose("scratch", (), alphabet, rng).tree.open_slots() == (), "what it swaps in can be filled from it"


@pytest.mark.parametrize(
    ("designers", "message"),
    [
        ({"units": ["Atention"]}, r"Cannot find unit 'Atention'.*Did you mean 'Attention'"),
        ({"edits": {"swap": 1}}, r"designers\.edits\.swap: expected .*swap_unit"),
        ({"edits": {"wrap": 0}}, r"designers\.edits has no weight above 0"),
        ({"edits": {"wrap": -1}}, r"designers\.edits\.wrap = -1: expected a number from 0 up"),
        ({"edits": {"wrap": 1}, "adaptive": True}, r"Cannot adapt the weights of edits"),
    ],
)
def test_units_and_edits_that_cannot_be(designers: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        config_from_mapping({"designers": designers})


def test_a_file_is_laid_over_its_base(tmp_path: Path) -> None:
    (tmp_path / "base.yaml").write_text("seed: 1\nquotas: [9, 3, 1]\ndesigners: {n: 2, sessions: 3}\n")
    (tmp_path / "other.yaml").write_text("seed: 5\n")
    (tmp_path / "run.yaml").write_text("base: base.yaml\nquotas: [6, 2, 1]\ndesigners: {n: 4}\n")
    assert read_layered(tmp_path / "run.yaml") == {
        "seed": 1, "quotas": [6, 2, 1], "designers": {"n": 4, "sessions": 3},
    }  # fmt: skip
    assert load_config(tmp_path / "run.yaml", base=tmp_path / "other.yaml").seed == 5


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "base: bse.yaml",
            r"Cannot read configuration '.*bse\.yaml': there is no such file.*Did you mean 'base\.yaml'",
        ),
        ("base: run.yaml", r"that names a base itself"),
        ("base: [a]", r"Cannot use base = \['a'\]"),
        ("base: broken.yaml", r"broken\.yaml': it is not YAML"),
    ],
)
def test_bases_that_cannot_be(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "base.yaml").write_text("seed: 1")
    (tmp_path / "broken.yaml").write_text("seed: [")
    (tmp_path / "run.yaml").write_text(text)
    with pytest.raises(ConfigError, match=message):
        load_config(tmp_path / "run.yaml")


trees = st.recursive(
    st.integers() | st.lists(st.integers(), max_size=2),
    lambda inner: st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
    max_leaves=8,
)
mappings = st.dictionaries(st.sampled_from("abc"), trees, max_size=3)


@given(mappings, mappings)
def test_laying_over_keeps_what_stands_above(below: dict, above: dict) -> None:
    assert lay_over(below, {}) == below and lay_over({}, above) == above and lay_over(above, above) == above
    merged = lay_over(below, above)
    assert lay_over(merged, above) == merged, "what stands above is there"
    assert merged.keys() == below.keys() | above.keys()
