"""The bounds that prompts state are the checker's."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch

from genesys.agents import briefing
from genesys.checker import RULES, causality, gradient, job, run
from genesys.ladder import LADDERS
from genesys.model import size
from genesys.roles.wording import BOUNDS, common


def test_figures_are_those_of_the_checker() -> None:
    assert {str(k).removeprefix("torch."): v for k, v in causality.TOLERANCE.items()} == briefing.LEAK_TOLERANCE
    assert torch.float64 in causality.TOLERANCE
    assert (briefing.N_STEPS, briefing.STEP_SIZE) == (gradient.N_STEPS, gradient.STEP_SIZE)
    assert briefing.MAX_CHECKED_LENGTH == job.MAX_CHECKED_LENGTH
    assert briefing.MAX_SIZE_ERROR == size.MAX_ERROR
    assert (briefing.LARGE_INPUT, briefing.MAX_BUFFER_SHARE) == (run.LARGE_INPUT, run.MAX_BUFFER_SHARE)


@pytest.mark.parametrize("ladder", LADDERS)
def test_every_field_of_the_prompts_is_filled(ladder: str) -> None:
    scales = LADDERS[ladder].scales
    given = briefing.bounds(scales, 257)
    assert common(given).keys() == BOUNDS.keys() and all(given.values())
    for scale in scales:
        assert f"- {scale.name}: {scale.target_block_params:,} parameters" in given["scales"]


def test_rules_are_those_that_reject_code() -> None:
    rules = briefing.bounds(LADDERS["cpu"].scales, 257)["rules"]
    assert all(f"`{name}`" in rules for name in ("causality", "not-parallel", "frozen", "size-coarse"))
    assert "`memory`: A step keeps a bounded multiple" in rules and "backward pass. (a warning)" in rules
    assert not any(f"`{rule.id}`" in rules for rule in RULES.values() if rule.stage in ("semantic", "import", "job"))


def test_who_briefs_needs_no_torch() -> None:
    code = "import sys, genesys.agents.briefing; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
