"""A grid of learning rates: every one trained in full, the best scored, the others gone."""

import asyncio
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from genesys.errors import FailureCause, JobFailed
from genesys.gau.library import seed_design
from genesys.sandbox import ForkCage, Policy
from genesys.testing.null_cage import NullCage, NullScorer, quality
from genesys.train.data.shards import Shards
from genesys.verification import VerificationReport, VerificationRequest, read_progress, verify
from tests.verification.conftest import SCALE, TRAIN, make_request

GRID = replace(SCALE, lr_grid=(0.1, 1.0, 3.0), n_tokens=128 * 10)


@pytest.mark.asyncio(loop_scope="session")
async def test_the_best_learning_rate_is_the_one_that_is_scored(shards: Shards, cage: ForkCage, tmp_path: Path) -> None:
    report = await verify(make_request(shards, tmp_path, scale=asdict(GRID)), cage)
    tried = {entry["peak_lr"]: entry["val_loss_nats"] for entry in report.details["grid"]}
    assert list(tried) == pytest.approx([1e-3, 1e-2, 3e-2]) and len(set(tried.values())) == 3
    assert report.metrics["val_loss_nats"] == pytest.approx(min(tried.values()), abs=1e-3)
    kept = [path.name for path in (tmp_path / "out").glob("training*")]
    assert len(kept) == 1 and Path(report.weights).parent.name == kept[0]
    assert report.n_tokens == 1280 and report.cost["n_tokens"] == 3 * 1280, "one verification, at the cost of three"
    assert read_progress(tmp_path / "out").n_tokens == 1280


class Rates(NullCage):
    """Trainings whose loss, or failure, depends on the learning rate."""

    def __init__(self, losses: Mapping[float, float | FailureCause]) -> None:
        super().__init__()
        self.losses = losses

    async def run(self, entry: str, request: Mapping[str, Any], policy: Policy) -> dict[str, Any]:
        answer = await super().run(entry, request, policy)
        if entry == TRAIN:
            found = self.losses[round(request["scale"]["peak_lr"], 6)]
            if isinstance(found, str):
                raise JobFailed(found, "it failed")
            answer["val_loss_nats"] = found
        return answer


def run(folder: Path, losses: Mapping[float, float | FailureCause]) -> VerificationReport:
    request = VerificationRequest(
        tree=seed_design("gpt").to_json(),
        shape={"vocab_size": 257, "d_model": 16, "n_blocks": 1},
        scale=asdict(GRID),
        shards="null",
        seed=0,
        out=str(folder),
    )
    return asyncio.run(verify(request, Rates(losses), scorer=NullScorer()))


HONEST_LOSS = 3.5 - quality(seed_design("gpt").design_id)  # what `NullScorer` finds


@pytest.mark.parametrize("cause", ["non-finite", "spike", "diverged"])
def test_a_rate_that_is_too_high_does_not_fail_the_design(cause: FailureCause, tmp_path: Path) -> None:
    honest = run(tmp_path / "honest", dict.fromkeys((1e-3, 1e-2, 3e-2), HONEST_LOSS))
    report = run(tmp_path / "one", {1e-3: HONEST_LOSS, 1e-2: cause, 3e-2: cause})
    assert report.metrics == honest.metrics
    assert [("failure" in entry) for entry in report.details["grid"]] == [False, True, True]


def test_a_design_that_fails_at_every_rate_fails(tmp_path: Path) -> None:
    with pytest.raises(JobFailed) as caught:
        run(tmp_path, {1e-3: "non-finite", 1e-2: "spike", 3e-2: "diverged"})
    assert caught.value.cause == "diverged"


@pytest.mark.parametrize("cause", ["infrastructure", "out-of-memory", "error"])
def test_other_failures_end_the_verification(cause: FailureCause, tmp_path: Path) -> None:
    with pytest.raises(JobFailed) as caught:
        run(tmp_path, {1e-3: HONEST_LOSS, 1e-2: cause, 3e-2: HONEST_LOSS})
    assert caught.value.cause == cause


@pytest.mark.parametrize("loss", [float("nan"), float("-inf"), [3.0], None])
def test_a_claimed_loss_that_is_no_number_is_not_the_best(loss: Any, tmp_path: Path) -> None:
    report = run(tmp_path, {1e-3: loss, 1e-2: HONEST_LOSS, 3e-2: loss})
    assert (
        report.details["grid"][1]["val_loss_nats"] == HONEST_LOSS and Path(report.weights).parent.name == "training-2"
    )
