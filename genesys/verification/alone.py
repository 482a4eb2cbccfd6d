"""A verification outside any run: its size asked of the checker, watched while it runs, its report left in its folder."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from pathlib import Path

from genesys.checker import VerdictCache, check_request, default_folder, is_sane
from genesys.errors import ConfigError, JobFailed
from genesys.gau import UnitTree
from genesys.ladder import Scale
from genesys.sandbox import Cage
from genesys.verification.checking import check_design
from genesys.verification.progress import VerificationProgress, read_progress, write_stage
from genesys.verification.report import REPORT_FILE, write_report
from genesys.verification.types import VerificationReport, VerificationRequest
from genesys.verification.verify import verify

OnProgress = Callable[[VerificationProgress], None]

CHECK_DEADLINE_S = 300.0
DEADLINE_S = 30 * 86_400.0
"""No limit of ours: whoever waits at the command line can interrupt."""

_OWNER_FILE = "design"
_LOOK_EVERY_S = 0.5


async def size_at(tree: UnitTree, scale: Scale, vocab_size: int, cage: Cage) -> dict[str, int]:
    """The shape of a design at a scale: vocab_size, d_model, n_blocks.

    Raises:
        ConfigError: The design does not pass the checker.
    """
    request = check_request(tree, [scale], vocab_size)
    checked = await check_design(
        tree, request, cage, deadline_s=CHECK_DEADLINE_S, verdicts=VerdictCache(default_folder())
    )
    if not is_sane(checked):
        first = checked["findings"][-1]
        raise ConfigError(
            f"Cannot verify the design at {scale.name}: [{first['rule']}] {first['measured']}. See `genesys check`."
        )
    return {key: checked["sizes"][scale.name][key] for key in ("vocab_size", "d_model", "n_blocks")}


async def verify_alone(request: VerificationRequest, cage: Cage, *, on_progress: OnProgress) -> VerificationReport:
    """Verify in the request's folder, leave the report there, and tell twice a second how far it is.

    Interrupted, it leaves what the same request in the same folder goes on from.

    Raises:
        ConfigError: The folder is another design's: what a training leaves is read by the next training there.
        JobFailed: The verification failed, or its report does not hold.
    """
    folder = Path(request.out)
    try:
        _take(folder, UnitTree.from_json(request.tree).design_id)
        (folder / REPORT_FILE).unlink(missing_ok=True)  # its weights may be overwritten from here on
        write_stage(folder, "train")
    except OSError as error:
        raise JobFailed("infrastructure", f"Cannot verify in {str(folder)!r}: {error.strerror or error}.") from error
    watch = asyncio.create_task(_watch(folder, on_progress))
    try:
        report = await verify(request, cage)
    finally:
        watch.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await watch
    await asyncio.to_thread(write_report, report, folder)
    return report


def _take(folder: Path, design_id: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    owner = folder / _OWNER_FILE
    holds = owner.read_text(encoding="ascii", errors="replace") if owner.exists() else design_id
    if holds != design_id:
        raise ConfigError(
            f"Cannot verify design {design_id[:12]} in {str(folder)!r}: the folder holds a verification of {holds[:12]}; "
            f"expected a new folder, or that design's. Give another --out."
        )
    owner.write_text(design_id, encoding="ascii")


async def _watch(folder: Path, on_progress: OnProgress) -> None:
    while True:
        on_progress(read_progress(folder))
        await asyncio.sleep(_LOOK_EVERY_S)
