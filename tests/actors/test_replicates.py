"""Training seeds and baselines through the actors, from the configuration to the journal."""

from __future__ import annotations

from pathlib import Path

from genesys.api import Run
from genesys.config import RunConfig
from tests.actors.in_process import World, run_world


def test_each_design_of_a_scale_is_trained_with_each_seed(tmp_path: Path) -> None:
    config = RunConfig(quotas=(8, 3, 1), training_seeds={"cpu-2": 3}, seeds=("gpt",), designs=("rwkv7",))
    run_world(World(tmp_path / "run", config))
    run = Run(tmp_path / "run")
    seeds = {record.id: sorted(r.seed for r in record.committed("cpu-2")) for record in run.tree}
    assert sorted(found for found in seeds.values() if found) == [[0, 1, 2]] * 3
    assert [run.tree.ledger.account(s, replicates=True).committed for s in run.tree.scales] == [0, 6, 0]
    assert [run.tree.ledger.account(s).committed for s in run.tree.scales] == [8, 3, 1]
    assert run.tree.finished == "every quota is spent"
    baseline = run.record("rwkv7")
    assert (baseline.operator, baseline.is_seed) == ("given", False) and baseline.committed("cpu-1")
