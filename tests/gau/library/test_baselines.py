"""Baselines: designs that every command takes by name, and that pass the whole checker."""

from __future__ import annotations

import pytest
import torch

from genesys.checker import CHEAP_STAGES, STAGES, check_request
from genesys.checker.job import check
from genesys.config import load_design
from genesys.gau.library import BASELINE_NAMES, SEED_NAMES, shipped_design
from genesys.ladder import CPU_SCALES, PAPER_SCALES

torch.set_num_threads(1)


@pytest.mark.parametrize("name", (*SEED_NAMES, *BASELINE_NAMES))
def test_shipped_designs_are_read_by_name(name: str) -> None:
    assert load_design(name) == shipped_design(name)


@pytest.mark.parametrize("name", BASELINE_NAMES)
@pytest.mark.parametrize("stages", (CHEAP_STAGES, pytest.param(STAGES, marks=pytest.mark.slow)), ids=("cheap", "all"))
def test_baselines_are_sane_at_every_scale(name: str, stages: tuple[str, ...]) -> None:
    """Law 13."""
    with torch.random.fork_rng():
        report = check(check_request(shipped_design(name), (*CPU_SCALES, *PAPER_SCALES), 257, stages=stages))
    assert report["findings"] == []
    assert set(report["sizes"]) == {scale.name for scale in (*CPU_SCALES, *PAPER_SCALES)}
