"""Whatever a training answers, a verification ends in a report of sound figures or in a `JobFailed`."""

import asyncio
import math
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from genesys.errors import JobFailed
from genesys.gau.library import seed_design
from genesys.sandbox import Policy
from genesys.testing.null_cage import NullCage, NullScorer
from genesys.verification import VerificationReport, VerificationRequest, verify
from tests.verification.conftest import SCALE, TRAIN

KEYS = ("design_id", "weights", "weights_sha256", "shards_hash", "val_loss_nats", "n_params", "n_tokens", "tokens_per_s")  # fmt: skip
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.sampled_from(["", "nan", "inf", "7", "null", 10**400]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
)


class Babbler(NullCage):
    """Its trainings say what they are told to say."""

    def __init__(self, said: Mapping[str, Any], *, without: str = "") -> None:
        super().__init__()
        self.said, self.without = said, without

    async def run(self, entry: str, request: Mapping[str, Any], policy: Policy) -> dict[str, Any]:
        answer = await super().run(entry, request, policy)
        if entry == TRAIN:
            answer |= self.said
            answer.pop(self.without, None)
        return answer


def run(folder: Path, cage: Babbler) -> VerificationReport:
    request = VerificationRequest(
        tree=seed_design("gpt").to_json(),
        shape={"vocab_size": 257, "d_model": 16, "n_blocks": 1},
        scale=asdict(SCALE),
        shards="null",
        seed=0,
        out=str(folder),
    )
    return asyncio.run(verify(request, cage, scorer=NullScorer()))


@settings(deadline=None)
@given(said=st.dictionaries(st.sampled_from(KEYS), JSON, max_size=3))
def test_no_answer_makes_more_than_a_failure(said: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> None:
    try:
        report = run(tmp_path_factory.mktemp("answers"), Babbler(said))
    except JobFailed as failure:
        assert failure.cause in ("error", "integrity")
    else:
        assert all(math.isfinite(value) for value in report.metrics.values())
        assert report.design_id == seed_design("gpt").design_id and report.n_tokens == SCALE.n_tokens


@pytest.mark.parametrize("key", [key for key in KEYS if key != "weights"])
def test_a_missing_answer_is_the_designs_failure(key: str, tmp_path: Path) -> None:
    with pytest.raises(JobFailed, match=key if key != "val_loss_nats" else "integrity-loss") as caught:
        run(tmp_path, Babbler({}, without=key))
    assert caught.value.cause in ("error", "integrity")


@pytest.mark.parametrize("value", ["nan", "inf", float("nan"), float("-inf")])
def test_a_rate_that_is_no_number_is_refused(value: Any, tmp_path: Path) -> None:
    with pytest.raises(JobFailed, match="finite") as caught:
        run(tmp_path, Babbler({"tokens_per_s": value}))
    assert caught.value.cause == "integrity"


def test_weights_larger_than_the_rung_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    largest = 2 * (SCALE.target_block_params + 257 * SCALE.max_width)
    monkeypatch.setattr("genesys.testing.null_cage.N_PARAMS", largest + 1)
    with pytest.raises(JobFailed, match=f"Cannot accept weights of {largest + 1:,} numbers") as failure:
        run(tmp_path, Babbler({}))
    assert failure.value.cause == "integrity"


def test_a_shallow_rung_takes_its_widest_design(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    widest = SCALE.target_block_params + 258 * SCALE.max_width
    assert SCALE.n_blocks == 1 and SCALE.max_width == 8 * SCALE.d_model
    monkeypatch.setattr("genesys.testing.null_cage.N_PARAMS", widest)
    assert run(tmp_path, Babbler({})).metrics["n_params"] == widest
