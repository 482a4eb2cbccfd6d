"""A designer that meets a design again answers from the verdict it kept (law 14)."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch

from actors.designer import Designer
from genesys.checker import VerdictCache
from genesys.checker.job import check
from genesys.config import RunConfig
from genesys.errors import JobFailed
from genesys.sandbox import Policy
from tests.actors.in_process import World

CONFIG = RunConfig(quotas=(2, 1, 1), seeds=("gpt",))


class CountingCage:
    """Runs checks in this process, and counts them; after `n_failures` jobs that were killed."""

    def __init__(self, n_failures: int = 0) -> None:
        self.n_runs, self._n_failures = 0, n_failures

    async def run(self, entry: str, request: Mapping[str, Any], policy: Policy) -> dict[str, Any]:
        self.n_runs += 1
        if self.n_runs <= self._n_failures:
            raise JobFailed("killed", "ended with code -9")
        torch.set_num_threads(1)
        return check(request)


async def design_first_seed(folder: Path, cage: CountingCage, verdicts: Path) -> str:
    """The state of the first seed after a designer's turn in a new run."""
    world = World(folder, CONFIG)
    await world.start()
    scales = world.plan.ladder.scales
    designer = Designer(
        "Designer-1", world.tree, scales, 257, cage=cage, objects=world.objects, verdicts=VerdictCache(verdicts)
    )
    await designer.design(await world.tree.next_task("Designer-1"))
    states = (await world.tree.status()).states
    return next(state for state, n in states.items() if n)


def test_a_design_is_checked_once(tmp_path: Path) -> None:
    cage = CountingCage()
    for run in ("first", "second"):
        state = asyncio.run(design_first_seed(tmp_path / run, cage, tmp_path / "verdicts"))
        assert state == "implemented"
    assert cage.n_runs == 1


@pytest.mark.parametrize(("n_failures", "state"), [(1, "implemented"), (2, "rejected")])
def test_a_killed_check_is_tried_again_and_leaves_no_verdict(tmp_path: Path, n_failures: int, state: str) -> None:
    cage = CountingCage(n_failures)
    assert asyncio.run(design_first_seed(tmp_path / "run", cage, tmp_path / "verdicts")) == state
    assert len(list((tmp_path / "verdicts").rglob("*.json"))) == (1 if state == "implemented" else 0)
