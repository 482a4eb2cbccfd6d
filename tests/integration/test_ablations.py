"""`genesys ablations` whole: real sessions, training and ladder; the language model is a scripted one over HTTP."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from genesys.testing.scripted_model import Script, ScriptedModel, settings_yaml
from tests.integration.processes import ROOT, finish, start
from tests.integration.test_evolve import write_config

pytestmark = [pytest.mark.slow, pytest.mark.ray, pytest.mark.timeout(3600)]
SETTINGS = "quotas: [6, 2]\nseeds: [gpt, retnet]\noperators: {seed_until: 2, scratch_from: 3, crossover_from: 3}\n"
CONFIGS = [
    str(ROOT / "configs" / "ablations" / f"{name}.yaml") for name in ("greedy", "direct", "rules_only", "no_seeds")
]


def test_configurations_on_equal_budgets(tmp_path: Path) -> None:
    """Each gets as many designs; dollars are the server's own count, over all of them; again, nothing is run."""
    with ScriptedModel(Script(seed=3)) as server:
        agents = settings_yaml(server.url, server.script).replace("  kinds:", "  sessions: 2\n  kinds:")
        write_config(tmp_path, SETTINGS + agents)
        amounts = ["--runs", "1", "--budget", "designs=2,usd=5"]
        line = ["ablations", *CONFIGS, "--out", "out", "--base", "run.yaml", *amounts]
        finish(start(*line, "--json", cwd=tmp_path), 3000)
        charged = server.charged
        again = finish(start(*line, cwd=tmp_path), 600)
        assert again.count(": is there") == 4 and "best at" in again, again
        assert server.charged == charged and charged.nano > 0
    found = json.loads(finish(start(*line, "--table", "--json", cwd=tmp_path), 600))
    used = {
        row["name"]: {means: estimate["mean"] for means, estimate in row["used"].items()} for row in found["configs"]
    }
    assert {name: amounts["designs"] for name, amounts in used.items()} == dict.fromkeys(used, 2)
    assert used["rules_only"]["usd"] == 0 < min(used["greedy"]["usd"], used["direct"]["usd"])
    assert sum(amounts["usd"] for amounts in used.values()) * 1e9 == pytest.approx(charged.nano)
    assert all(row["best"]["designs"] is not None for row in found["configs"]), (
        "no_seeds is rated by the others' reference"
    )
