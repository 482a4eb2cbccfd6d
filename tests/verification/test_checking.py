"""A check is answered from where generated code runs: what is no whole report on the design decides nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from genesys.checker import VerdictCache, check_request
from genesys.errors import JobFailed
from genesys.gau.library import seed_design
from genesys.ladder import CPU_SCALES
from genesys.sandbox import Policy
from genesys.testing.null_cage import NullCage
from genesys.verification.checking import check_design

TREE = seed_design("gpt")
SIZE = {"vocab_size": 257, "d_model": 64, "n_blocks": 2, "n_params": 1000, "error": 0.0}


class Forger(NullCage):
    """Its checks hold what it is told in the place of the honest fields."""

    def __init__(self, **forged: Any) -> None:
        super().__init__()
        self.forged = forged

    async def run(self, entry: str, request: Mapping[str, Any], policy: Policy) -> dict[str, Any]:
        return await super().run(entry, request, policy) | self.forged


@pytest.mark.parametrize(
    "forged",
    [
        {"sizes": {}},
        {"sizes": {"cpu-1": SIZE}},
        {"sizes": {scale.name: SIZE | {"d_model": 10**9} for scale in CPU_SCALES}},
        {"sizes": {scale.name: SIZE | {"n_blocks": True} for scale in CPU_SCALES}},
        {"sizes": {scale.name: SIZE | {"vocab_size": 2} for scale in CPU_SCALES}},
        {"design": "another"},
        {"checker": "x"},
        {"findings": [{"severity": "error"}]},
        {"findings": "none"},
    ],
)
def test_a_forged_report_is_an_error_and_not_kept(forged: dict[str, Any], tmp_path: Path) -> None:
    request, verdicts = check_request(TREE, CPU_SCALES, 257), VerdictCache(tmp_path)
    with pytest.raises(JobFailed, match="something else than a whole report") as failure:
        asyncio.run(check_design(TREE, request, Forger(**forged), deadline_s=10, verdicts=verdicts))
    assert failure.value.cause == "error" and verdicts.get(request, TREE) is None


def test_a_whole_report_is_kept(tmp_path: Path) -> None:
    request, verdicts = check_request(TREE, CPU_SCALES, 257), VerdictCache(tmp_path)
    report = asyncio.run(check_design(TREE, request, NullCage(), deadline_s=10, verdicts=verdicts))
    assert verdicts.get(request, TREE) == report
