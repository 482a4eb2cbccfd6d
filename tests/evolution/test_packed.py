"""Packed metrics are what they were."""

from __future__ import annotations

import copy
import json
import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from genesys.evolution.packed import PackedMetrics

NUMBERS = st.one_of(st.floats(allow_nan=False), st.integers(-(2**70), 2**70))


@given(st.dictionaries(st.text(), NUMBERS))
def test_it_reads_as_the_dictionary_that_it_was(metrics: dict[str, float]) -> None:
    packed = PackedMetrics(metrics)
    assert packed == metrics and list(packed) == list(metrics) and len(packed) == len(metrics)
    assert json.dumps(dict(packed)) == json.dumps(metrics), "integers stay integers, -0.0 stays -0.0"
    assert pickle.loads(pickle.dumps(packed)) == copy.deepcopy(packed) == PackedMetrics(packed) == packed
    assert str(packed) == str(metrics)


def test_a_name_that_it_lacks_is_said() -> None:
    packed = PackedMetrics({"test_bpb": 0.5})
    assert packed.get("probe_recall", 1.0) == 1.0 and "probe_recall" not in packed
    with pytest.raises(KeyError, match="probe_recall"):
        packed["probe_recall"]
