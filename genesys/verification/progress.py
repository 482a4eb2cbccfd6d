"""How far a verification is, read from its folder by whoever waits for it."""

from __future__ import annotations

import json
import math
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path

from genesys.verification.claims import tail_of

TRAINING_FOLDER = "training"
"""The part of a verification's folder that its training job may write to."""
_TAIL_BYTES = 4096


@dataclass(frozen=True, slots=True, kw_only=True)
class VerificationProgress:
    """Stage ("train", "evaluate", "probe", or "" before the start) and the training's last figures."""

    stage: str = ""
    n_tokens: int = 0
    loss_nats: float | None = None
    tokens_per_s: float = 0.0


def write_stage(folder: Path, stage: str) -> None:
    """Leave the name of the stage for `read_progress`; by a rename, which follows no link."""
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile("w", encoding="utf-8", dir=folder, suffix=".tmp", delete=False) as file:
        file.write(stage)
    os.replace(file.name, folder / "stage")


def read_progress(folder: str | Path) -> VerificationProgress:
    """Read the stage, and the last sound line of the training's `progress.jsonl`.

    Generated code can write the lines: what is no regular file, is cut short, or is not a line of finite numbers of the
    right kind reads as not begun. At most 4 kB are read.
    """
    folder = Path(folder)
    stage = tail_of(folder / "stage", 64).decode("ascii", errors="replace")
    for line in reversed(tail_of(folder / TRAINING_FOLDER / "progress.jsonl", _TAIL_BYTES).splitlines()):
        try:
            seen = json.loads(line)
            loss, tokens_per_s = float(seen["loss"]), float(seen["tokens_per_s"])
            if math.isfinite(loss) and math.isfinite(tokens_per_s):
                return VerificationProgress(
                    stage=stage, n_tokens=int(seen["n_tokens"]), loss_nats=loss, tokens_per_s=tokens_per_s
                )
        except (ValueError, KeyError, TypeError, OverflowError, RecursionError):
            continue  # the line being written just now, or nonsense
    return VerificationProgress(stage=stage)
