"""Probes with rows of their own kind, trained in the cage, scored and audited outside."""

from dataclasses import asdict
from pathlib import Path

import pytest

from genesys.sandbox import ForkCage
from genesys.verification import verify
from tests.verification.conftest import SCALE, Honest

pytestmark = pytest.mark.asyncio(loop_scope="session")


@pytest.mark.slow
async def test_probes_of_one_state_and_of_longer_rows(honest: Honest, cage: ForkCage, tmp_path: Path) -> None:
    """The cage reads the state where the task says, and the test rows are those that it never trained on."""
    scale = asdict(SCALE) | {"probes": ["compression", "length_generalisation"]}
    report = await verify(honest.again(tmp_path, probes=True, scale=scale), cage)
    assert report.metrics["probe_compression"] >= 0.9 and report.metrics["probe_compression_chance"] == 1 / 8
    assert 0.7 <= report.metrics["probe_length_generalisation"] < 0.95
    probed = report.details["probe"]["probes"]
    assert all(probed[name]["audit"]["n_places"] == 128 for name in scale["probes"])
    assert all(probed[name]["training"]["seconds"] > 0 for name in scale["probes"])
