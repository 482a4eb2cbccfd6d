"""Law 1 as a pure function: whatever is not exactly right is a finding, NaN included."""

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from genesys.verification import check_integrity

TRAINED: dict[str, Any] = {"design_id": "d", "weights_sha256": "w", "shards_hash": "s", "val_loss_nats": 2.0}
EVALUATED: dict[str, Any] = {**TRAINED, "untrained_val_loss_nats": 5.5, "test_bpb": 3.0}


def test_an_honest_pair_has_no_finding() -> None:
    assert check_integrity(TRAINED, EVALUATED) == ()


@pytest.mark.parametrize(
    ("change", "rule"),
    [
        ({"design_id": "other"}, "integrity-design"),
        ({"weights_sha256": "other"}, "integrity-weights"),
        ({"weights_sha256": None}, "integrity-weights"),
        ({"shards_hash": "other"}, "integrity-data"),
        ({"val_loss_nats": 2.002}, "integrity-loss"),
        ({"val_loss_nats": math.nan}, "integrity-loss"),
        ({"val_loss_nats": None}, "integrity-loss"),
        ({"untrained_val_loss_nats": 2.0}, "integrity-untrained"),
        ({"untrained_val_loss_nats": math.nan}, "integrity-untrained"),
        ({"test_bpb": math.inf}, "integrity-finite"),
    ],
)
def test_each_lie_has_its_rule(change: dict[str, Any], rule: str) -> None:
    assert rule in {finding.rule for finding in check_integrity(TRAINED, {**EVALUATED, **change})}


def test_two_missing_hashes_do_not_match() -> None:
    trained = {**TRAINED, "weights_sha256": ""}
    assert check_integrity(trained, {**EVALUATED, "weights_sha256": ""})[0].rule == "integrity-weights"


@given(trained=st.floats(), again=st.floats(), untrained=st.floats())
def test_only_equal_finite_and_better_passes(trained: float, again: float, untrained: float) -> None:
    found = check_integrity(
        {**TRAINED, "val_loss_nats": trained},
        {**EVALUATED, "val_loss_nats": again, "untrained_val_loss_nats": untrained},
    )
    fine = all(map(math.isfinite, (trained, again, untrained))) and abs(trained - again) <= 1e-3 and again < untrained
    assert (not found) == fine
