"""What a configuration says of units and edits reaches the rules, and nothing else is proposed."""

from __future__ import annotations

from pathlib import Path

from genesys.api import Run
from genesys.config import DesignersConfig, RunConfig
from genesys.evolution.selection import OperatorRates
from genesys.gau.library import seed_design
from tests.actors.in_process import World, run_world

UNITS = (
    "PreNormBlock",
    "ParallelBlock",
    "Attention",
    "ALiBiAttention",
    "GatedAttention",
    "SwiGLU",
    "GELUMLP",
    "RMSNorm",
    "Rotary",
)


def test_rules_put_in_the_units_named_by_the_edits_named(tmp_path: Path) -> None:
    designers = DesignersConfig(units=UNITS, edits={"swap_unit": 1.0})
    config = RunConfig(quotas=(8, 4, 2), seeds=("gpt",), operators=OperatorRates(seed_until=-1), designers=designers)
    run_world(World(tmp_path / "run", config))
    made = [record for record in Run(tmp_path / "run").tree if not record.is_seed]
    allowed = {*UNITS, *(unit.name for unit in seed_design("gpt").units())}
    assert len(made) == 7
    assert {record.edit for record in made if record.operator == "mutation"} == {"swap_unit"}
    assert all(set(record.parts) <= allowed for record in made)
    assert any(set(record.parts) - {unit.name for unit in seed_design("gpt").units()} for record in made)
