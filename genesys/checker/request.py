"""What the checker is asked, and how its report is read; light, for those who run it in a child process."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict
from typing import Any

from genesys.errors import Finding, JobFailed
from genesys.gau import UnitTree
from genesys.ladder import Scale

CHECK_ENTRY = "genesys.checker.job:check"


def check_request(tree: UnitTree, scales: Iterable[Scale], vocab_size: int) -> dict[str, Any]:
    """The request of `CHECK_ENTRY` for a design on a ladder."""
    return {"tree": tree.to_json(), "scales": [asdict(scale) for scale in scales], "vocab_size": vocab_size}


def is_sane(report: Mapping[str, Any]) -> bool:
    """Whether a report holds no error."""
    return not any(finding["severity"] == "error" for finding in report["findings"])


def unchecked(tree: UnitTree, failure: JobFailed) -> Finding:
    """The finding of a check that gave no report."""
    return Finding(
        rule=f"check-{failure.cause}",
        unit=tree.unit.name,
        measured=str(failure)[:500],
        required="a check that ends with a verdict",
        hint="Run `genesys check` on the design to see more.",
    )
