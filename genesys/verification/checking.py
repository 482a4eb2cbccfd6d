"""One design checked in a child process of its own, unless its verdict is known."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from genesys.checker import CHECK_ENTRY, VerdictCache
from genesys.checker.cache import is_report
from genesys.errors import JobFailed
from genesys.gau import UnitTree
from genesys.sandbox import Cage, Policy


async def check_design(
    tree: UnitTree, request: Mapping[str, Any], cage: Cage, *, deadline_s: float, verdicts: VerdictCache | None = None
) -> dict[str, Any]:
    """The checker's report on a design: the one kept, or a fresh one, which is then kept.

    Args:
        request: As `check_request` makes it of `tree`.

    Raises:
        JobFailed: The check gave no verdict, or something that is no report; nothing is kept then.
    """
    if verdicts is not None and (kept := verdicts.get(request, tree)) is not None:
        return kept
    report = await cage.run(CHECK_ENTRY, request, Policy(deadline_s=deadline_s))
    # generated code ran beside the checker, and may have answered in its place
    if not is_report(report, request, tree):
        raise JobFailed("error", "the check answered something else than a whole report on this design")
    if verdicts is not None:
        verdicts.put(request, tree, report)
    return report
