"""A verification outside any run: its size asked of the checker, watched while it runs, its report left in its folder."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from genesys.checker import VerdictCache, check_request, default_folder, is_sane
from genesys.errors import ConfigError, JobFailed
from genesys.evaluate.splits import open_splits
from genesys.gau import UnitTree
from genesys.ladder import Scale
from genesys.sandbox import Cage
from genesys.verification.checking import check_design
from genesys.verification.progress import TRAINING_FOLDER, VerificationProgress, read_progress, write_stage
from genesys.verification.report import REPORT_FILE, read_report, write_report
from genesys.verification.types import SCORING_VERSION, VerificationReport, VerificationRequest
from genesys.verification.verify import verify

OnProgress = Callable[[VerificationProgress], None]

CHECK_DEADLINE_S = 300.0
DEADLINE_S = 30 * 86_400.0
"""No limit of ours: whoever waits at the command line can interrupt."""

_OWNER_FILE = "design"
_ASKED = ("shape", "scale", "n_threads", "n_processes", "probes", "tasks_data")
"""What of a request, beside its owner, a report must answer to stand for it."""
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
        ConfigError: The folder is of another design, scale, seed, recipe or data: what a training leaves is read by the
            next training there.
        JobFailed: The verification failed, or its report does not hold.
    """
    folder = Path(request.out)
    try:
        _take(folder, _owner(request))
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


def finished(request: VerificationRequest) -> VerificationReport | None:
    """The report in the request's folder, if it answers just this request and its weights still have their hash."""
    folder = Path(request.out)
    if not (folder / REPORT_FILE).is_file() or _read_owner(folder) != _owner(request):
        return None
    try:
        report = read_report(folder, check_weights=True)
    except (ConfigError, JobFailed):
        return None
    asked = json.loads(json.dumps(request.to_json()))
    same = all(report.config.get(key) == asked[key] for key in _ASKED)
    return report if same and report.software.get("scoring") == str(SCORING_VERSION) else None


def what_is_kept(folder: Path) -> str:
    """What an interrupted verification has left in its folder to go on from, in a phrase; "" if nothing."""
    training = folder / TRAINING_FOLDER
    if (folder / REPORT_FILE).is_file():
        return "the finished verification"
    if (training / "trained.json").is_file():
        return "the finished training"
    if any(training.glob("rate-*/trained.json")):
        return "the training at some of its learning rates"
    return "a checkpoint of the training" if any(training.glob("**/checkpoint-*/state.json")) else ""


def _owner(request: VerificationRequest) -> dict[str, Any]:
    """What decides a training, and so whose its folder is."""
    return {
        "design": UnitTree.from_json(request.tree).design_id,
        "scale": request.scale["name"],
        "seed": request.seed,
        "recipe": request.recipe_hash,
        "data": open_splits(Path(request.shards)).hash,
    }


def _read_owner(folder: Path) -> dict[str, Any]:
    """Whose a folder is; of one from before there was more to it, the design alone; {} of nobody's."""
    try:
        text = (folder / _OWNER_FILE).read_text(encoding="ascii", errors="replace")
    except FileNotFoundError:
        return {}
    try:
        owner = json.loads(text)
    except ValueError:
        owner = None
    return owner if isinstance(owner, dict) else {"design": text.strip()}


def _take(folder: Path, owner: Mapping[str, Any]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    holds = _read_owner(folder)
    if other := {key: value for key, value in owner.items() if holds.get(key, value) != value}:
        raise ConfigError(
            f"Cannot verify in {str(folder)!r}: the folder holds a verification of {_said(holds)}, and asked for is "
            f"{_said(other)}; expected a new folder, or that very verification. Give another --out."
        )
    (folder / _OWNER_FILE).write_text(json.dumps(owner), encoding="ascii")


def _said(owner: Mapping[str, Any]) -> str:
    return ", ".join(f"{key} {str(value)[:12]}" for key, value in owner.items())


async def _watch(folder: Path, on_progress: OnProgress) -> None:
    while True:
        on_progress(read_progress(folder))
        await asyncio.sleep(_LOOK_EVERY_S)
