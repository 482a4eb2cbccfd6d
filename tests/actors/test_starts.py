"""Where an evolution starts from, and how its operators are drawn, as the configuration says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from genesys.api import Run
from genesys.config import DesignersConfig, RunConfig
from genesys.config.run import config_from_mapping
from genesys.errors import ConfigError
from genesys.evolution import EvolutionTree
from genesys.evolution.selection import OperatorRates
from genesys.gau.library import seed_design
from tests.actors.in_process import World, run_world

QUOTAS = (16, 4, 2)


def evolved(folder: Path, **settings: Any) -> EvolutionTree:
    """The books of a whole run without training."""
    run_world(World(folder / "run", RunConfig(**{"quotas": QUOTAS, **settings})))
    tree = Run(folder / "run").tree
    assert tree.finished == "every quota is spent"
    assert [tree.ledger.account(scale).committed for scale in tree.scales] == list(settings.get("quotas", QUOTAS))
    return tree


@pytest.mark.parametrize("reference", ["", "gpt"])
def test_an_evolution_from_nothing_climbs_to_the_top(tmp_path: Path, reference: str) -> None:
    tree = evolved(tmp_path, seeds=(), reference=reference)
    assert [r.name for r in tree if r.is_seed] == [reference] * bool(reference)
    first = next(r for r in tree if not r.is_seed)
    assert first.operator == ("mutation" if reference else "scratch")
    assert {"mutation", "crossover"} <= {r.operator for r in tree}
    assert tree.ratings.standing and all(r.steps["seed"] > 0 for r in tree if not r.is_seed)


def test_a_seed_that_is_left_out_stays_out(tmp_path: Path) -> None:
    others = ("mamba2", "retnet", "rwkv6", "ttt")
    tree = evolved(tmp_path, seeds=others, reference="retnet", quotas=(12, 4, 2))
    assert tuple(r.name for r in tree if r.is_seed) == others
    assert seed_design("gpt").design_id not in tree.records


def test_restarts_go_back_to_the_seeds(tmp_path: Path) -> None:
    always = evolved(tmp_path, operators=OperatorRates(restart=1.0))
    assert {always.record(parent).is_seed for r in always for parent in r.parents} == {True}
    assert {r.operator for r in always} >= {"mutation", "crossover"}


def test_rates_come_from_the_configuration(tmp_path: Path) -> None:
    rates = OperatorRates(mutation=0.0, crossover=1.0, scratch=0.0, crossover_from=0, restart=0.0)
    tree = evolved(tmp_path, operators=rates)
    assert {r.operator for r in tree if not r.is_seed} == {"crossover"}
    assert {tuple(r.odds.items()) for r in tree if not r.is_seed} == {(("crossover", 1.0),)}


def test_a_strategys_own_rates_come_before_the_runs() -> None:
    data = {
        "operators": {"mutation": 0.5, "crossover": 0.4, "scratch": 0.1},
        "selection": {"name": "tournament", "options": {"size": 3}},
    }
    chosen = config_from_mapping(data).selection_with_rates()
    assert chosen.options == {"size": 3, "rates": OperatorRates(mutation=0.5, crossover=0.4, scratch=0.1)}
    data["selection"]["options"]["rates"] = {"restart": 0.2}  # type: ignore[index]
    assert config_from_mapping(data).selection_with_rates().options["rates"] == {"restart": 0.2}
    assert "rates" not in RunConfig().selection_with_rates().options


@pytest.mark.parametrize(
    ("operators", "said"),
    [
        ({"mutations": 1.0}, "operators.mutations"),
        ({"mutation": 0.9}, "sum to 1"),
        ({"restart": 2}, "restart 2.0; expected a number in 0..1"),
    ],
)
def test_rates_that_cannot_be_are_refused(operators: dict[str, float], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        config_from_mapping({"operators": operators})


def test_an_adaptive_run_ends_and_says_at_what_odds_it_drew(tmp_path: Path) -> None:
    tree = evolved(tmp_path, designers=DesignersConfig(adaptive=True))
    mutated = [r for r in tree if r.operator == "mutation"]
    assert mutated
    for record in mutated:
        edits = {name: odds for name, odds in record.odds.items() if "/" in name}
        assert sum(edits.values()) == pytest.approx(record.odds["mutation"]) and edits[f"mutation/{record.edit}"] > 0
    assert len({tuple(r.odds.values()) for r in mutated}) > 3, "the odds never moved"
