"""What `genesys ablate` left behind about a design, for whoever builds on it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

ABLATION_FILE = "ablation.json"


def unit_deltas(folder: Path, design: str) -> dict[str, tuple[float, float, float]]:
    """By the path of a unit, what fitness the design loses without it, with its 95% interval; {} where nobody measured it.

    Of several scales the last that was measured counts. A report that cannot be read is none.

    Args:
        folder: Holds one folder for each design that was ablated.
    """
    try:
        found = sorted((folder / design[:16]).glob(f"*/{ABLATION_FILE}"), key=lambda path: path.stat().st_mtime)
        units = json.loads(found[-1].read_text(encoding="utf-8"))["units"] if found else []
        return dict(_deltas(units))
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def _deltas(units: list[Mapping[str, Any]]) -> Iterator[tuple[str, tuple[float, float, float]]]:
    for unit in units:
        fitness = unit["fitness"]
        if fitness is not None and fitness["low"] is not None:
            yield unit["path"], (float(fitness["difference"]), float(fitness["low"]), float(fitness["high"]))
