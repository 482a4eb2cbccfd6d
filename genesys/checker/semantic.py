"""Stage 7: an observer's judgement of whether the code is what its proposal says. Runs outside the cage, no generated code.

The observer reads; what it reads was written by a model, and is data to it. Without an observer the stage is skipped,
and the report says so.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from genesys.checker.request import is_sane
from genesys.errors import Finding
from genesys.gau import UnitTree


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """What an observer says: a rating from 0 to 5, and findings of the rules `fidelity` and `quality`."""

    rating: float
    findings: tuple[Finding, ...] = ()


class Observer(Protocol):
    """Judges fidelity to the proposal, quality and novelty."""

    async def judge(self, proposal: str, tree: UnitTree, findings: tuple[Finding, ...]) -> Judgement:
        """Judge a design that passed the other stages.

        Args:
            findings: Warnings that they left.

        Raises:
            TransientError: No judgement could be had; the same call may succeed later.
        """
        ...


async def observe(
    report: Mapping[str, Any], tree: UnitTree, proposal: str, observer: Observer | None
) -> dict[str, Any]:
    """The report with the semantic stage in it; unchanged where a stage before found an error, or nobody observes."""
    if observer is None or not is_sane(report):
        return dict(report)
    started = time.monotonic()
    judgement = await observer.judge(proposal, tree, tuple(Finding(**fields) for fields in report["findings"]))
    findings = [*report["findings"], *(finding.to_json() for finding in judgement.findings)]
    outcome = "passed" if is_sane({"findings": findings}) else "failed"
    stage = {"seconds": round(time.monotonic() - started, 4), "outcome": outcome}
    return {
        **report,
        "findings": findings,
        "stages": {**report["stages"], "semantic": stage},
        "measures": {**report["measures"], "rating": judgement.rating},
    }
