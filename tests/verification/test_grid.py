"""A grid of learning rates: every one trained in full, the best scored, at the cost of all."""

from dataclasses import asdict, replace
from pathlib import Path

import pytest

from genesys.sandbox import ForkCage
from genesys.train.data.shards import Shards
from genesys.verification import read_progress, verify
from tests.verification.conftest import SCALE, make_request

GRID = replace(SCALE, lr_grid=(0.1, 1.0, 3.0), n_tokens=128 * 10)


@pytest.mark.asyncio(loop_scope="session")
async def test_the_best_learning_rate_is_the_one_that_is_scored(shards: Shards, cage: ForkCage, tmp_path: Path) -> None:
    report = await verify(make_request(shards, tmp_path, scale=asdict(GRID)), cage)
    rates = dict(map(tuple, report.details["train"]["rates"]))
    assert set(rates) == {0.1, 1.0, 3.0} and len(set(rates.values())) == 3
    assert report.metrics["val_loss_nats"] == pytest.approx(min(rates.values()), abs=1e-3)
    assert report.n_tokens == 1280 and report.cost["n_tokens"] == 3 * 1280, "one verification, at the cost of three"
    assert report.cost["flops"] > 0 and report.cost["total_seconds"] > report.cost["seconds"] > 0
    per_token = report.cost["flops"] / report.cost["n_tokens"]  # attention's backward pass is counted a little dearer
    assert report.metrics["flops_per_token"] == pytest.approx(per_token, rel=0.1)
    assert read_progress(tmp_path / "out").n_tokens >= 1280
