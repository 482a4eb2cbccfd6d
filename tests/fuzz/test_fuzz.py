"""Readers of untrusted text and bytes neither crash nor hang; `python -m tests.fuzz` is the campaign."""

from __future__ import annotations

import time
from random import Random

import pytest

from tests.fuzz.targets import TARGETS, mutated, seeds

LONGEST_S = 5.0  # of any one input: a hang, not a benchmark


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("n_inputs", [800, pytest.param(20_000, marks=pytest.mark.slow)])
def test_mutated_inputs(target: str, n_inputs: int) -> None:
    rng, corpus = Random(n_inputs), seeds(target)
    for _ in range(n_inputs):
        data = mutated(rng.choice(corpus), rng)
        started = time.monotonic()
        TARGETS[target](data)
        assert time.monotonic() - started < LONGEST_S, data
