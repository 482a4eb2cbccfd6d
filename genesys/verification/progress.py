"""How far a verification is, read from its folder by whoever waits for it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

_TAIL_BYTES = 4096


@dataclass(frozen=True, slots=True, kw_only=True)
class VerificationProgress:
    """Stage ("train", "evaluate", "probe", or "" before the start) and the training's last figures."""

    stage: str = ""
    n_tokens: int = 0
    loss_nats: float | None = None
    tokens_per_s: float = 0.0


def write_stage(folder: Path, stage: str) -> None:
    """Leave the name of the stage for `read_progress`."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "stage").write_text(stage, encoding="utf-8")


def read_progress(folder: str | Path) -> VerificationProgress:
    """Read the stage and the last whole line of `progress.jsonl`; what is missing or cut short reads as not begun."""
    folder = Path(folder)
    try:
        stage = (folder / "stage").read_text(encoding="utf-8")
    except OSError:
        stage = ""
    for line in reversed(_last_lines(folder / "progress.jsonl")):
        try:
            seen = json.loads(line)
            return VerificationProgress(
                stage=stage,
                n_tokens=int(seen["n_tokens"]),
                loss_nats=float(seen["loss"]),
                tokens_per_s=float(seen["tokens_per_s"]),
            )
        except (ValueError, KeyError, TypeError):
            continue  # the line being written just now
    return VerificationProgress(stage=stage)


def _last_lines(path: Path) -> list[str]:
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - _TAIL_BYTES))
            return file.read().decode("utf-8", errors="replace").splitlines()
    except OSError:
        return []
