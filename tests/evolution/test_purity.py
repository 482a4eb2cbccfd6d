"""The books and policies know nothing about language models: their imports say so, in a fresh process."""

from __future__ import annotations

import subprocess
import sys

import pytest

PURE = (
    "genesys.ladder",
    "genesys.ladder.ledger",
    "genesys.evolution",
    "genesys.evolution.attribution",
    "genesys.evolution.books",
    "genesys.evolution.comparison",
    "genesys.evolution.design",
    "genesys.evolution.events",
    "genesys.evolution.fitness",
    "genesys.evolution.inference",
    "genesys.evolution.leaderboard",
    "genesys.evolution.listings",
    "genesys.evolution.policy",
    "genesys.evolution.population",
    "genesys.evolution.promotion",
    "genesys.evolution.ranking",
    "genesys.evolution.rating",
    "genesys.evolution.selection",
    "genesys.evolution.signal",
    "genesys.evolution.snapshot",
    "genesys.evolution.tree",
    "genesys.evolution.votes",
    "genesys.evolution.winners",
    "genesys.storage",
)
KNOWN_TO_NOBODY_HERE = ("torch", "numpy", "ray", "genesys.gau", "genesys.model", "genesys.train", "genesys.evaluate")


def loaded_by(*modules: str) -> set[str]:
    code = f"import sys\nfor name in {modules!r}: __import__(name)\nprint(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_tree_journal_ladder_and_strategies_load_nothing_of_language_models() -> None:
    loaded = loaded_by(*PURE)
    assert not loaded & set(KNOWN_TO_NOBODY_HERE)
    assert "genesys.evolution.fitness" in loaded


@pytest.mark.parametrize(
    "module", ["genesys.evolution.operators", "genesys.evolution.listings", "genesys.evolution", "genesys.storage"]
)
def test_the_core_needs_the_standard_library_only(module: str) -> None:
    roots = {name.partition(".")[0] for name in loaded_by(module)}
    allowed = set(sys.stdlib_module_names) | {"genesys", "__main__", "sitecustomize", "usercustomize"}
    foreign = {root for root in roots - allowed if not root.startswith(("_", "__editable__"))}
    assert not foreign - loaded_by("sys"), f"{module} loads {sorted(foreign)}"


def test_the_tree_does_not_know_the_domains_formula() -> None:
    loaded = loaded_by("genesys.evolution.tree", "genesys.evolution.promotion", "genesys.evolution.selection")
    assert not loaded & {f"genesys.evolution.{name}" for name in ("fitness", "operators", "signal", "votes", "winners")}
