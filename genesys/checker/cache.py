"""Verdicts kept on disk, so that checking an unchanged design again costs nothing (law 14).

Read and written outside the cage only: a report is made beside generated code, and is kept under the id of the
design that was sent in, never under one that the report claims.
"""

from __future__ import annotations

import json
import logging
import math
import os
import re
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from genesys.checker.request import checker_version, is_sane, policy_hash
from genesys.gau import UnitTree

log = logging.getLogger(__name__)

_MAX_BYTES = 4_000_000
_MAX_SKETCH = 64
_LARGEST = {"d_model": 1 << 17, "n_blocks": 1 << 12, "n_params": 1 << 42}
_FIELDS: Mapping[str, type] = {"findings": list, "sizes": dict, "stages": dict, "measures": dict, "behaviour": dict}
_FINDING_TEXTS = ("rule", "unit", "path", "measured", "required", "hint", "severity")


def default_folder() -> Path:
    """Where this user's verdicts are kept outside of runs."""
    return Path.home() / ".cache" / "genesys" / "verdicts"


class VerdictCache:
    """A folder of reports by (design, checker version, policy). Any number of processes may share it.

    Only verdicts are kept, never a check that gave none. A full disk or a folder that cannot be written costs a
    log line and the next check its time; an entry that cannot be read is measured again.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def get(self, request: Mapping[str, Any], tree: UnitTree) -> dict[str, Any] | None:
        """The report kept for a request, or None."""
        try:
            report = json.loads(self._path(request, tree).read_bytes())
        except (OSError, ValueError):
            return None
        return report if is_report(report, request, tree) else None

    def put(self, request: Mapping[str, Any], tree: UnitTree, report: Mapping[str, Any]) -> bool:
        """Keep a report, if it answers this request; says whether it is kept."""
        if not is_report(report, request, tree):
            return False
        text = json.dumps(report)
        if len(text) > _MAX_BYTES:
            return False
        try:
            _write_atomically(self._path(request, tree), text)
        except OSError as error:
            log.warning("Cannot keep the verdict on design %s: %s", tree.design_id[:12], error)
            return False
        return True

    def _path(self, request: Mapping[str, Any], tree: UnitTree) -> Path:
        design = tree.design_id
        return self._folder / design[:2] / f"{design}-{checker_version()}-{policy_hash(request)[:16]}.json"


def is_report(report: Any, request: Mapping[str, Any], tree: UnitTree) -> bool:
    """Whether a value is a whole report on this design by this checker under this request's policy."""
    if not isinstance(report, Mapping):
        return False
    of = {"design": tree.design_id, "checker": checker_version(), "policy": policy_hash(request)}
    return (
        all(report.get(key) == value for key, value in of.items())
        and all(isinstance(report.get(key), kind) for key, kind in _FIELDS.items())
        and all(_is_finding(finding) for finding in report["findings"])
        and _is_behaviour(report["behaviour"])
        and (not is_sane(report) or "shape" not in request["stages"] or _has_sizes(report["sizes"], request))
    )


def _has_sizes(sizes: Mapping[str, Any], request: Mapping[str, Any]) -> bool:
    """Whether there is a size that can be built, with the request's vocabulary, for each scale of the request."""

    def holds(size: Any) -> bool:
        if not isinstance(size, dict) or size.get("vocab_size") != request["vocab_size"]:
            return False
        return all(type(size.get(key)) is int and 0 < size[key] <= most for key, most in _LARGEST.items())

    return all(holds(sizes.get(scale["name"])) for scale in request["scales"])


def _is_finding(value: Any) -> bool:
    return (
        isinstance(value, dict)
        and value.keys() <= {*_FINDING_TEXTS, "line"}
        and all(isinstance(value.get(key), str) for key in _FINDING_TEXTS)
        and (value.get("line") is None or isinstance(value["line"], int))
        and value["severity"] in ("error", "warning")
    )


def _is_behaviour(value: Mapping[str, Any]) -> bool:
    sketch = value.get("sketch")
    return (
        re.fullmatch(r"([0-9a-f]{64})?", str(value.get("fingerprint"))) is not None
        and isinstance(sketch, list)
        and len(sketch) <= _MAX_SKETCH
        and all(isinstance(number, float) and math.isfinite(number) for number in sketch)
    )


def _write_atomically(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile("w", encoding="utf-8", dir=path.parent, suffix=".tmp", delete=False) as file:
        try:
            file.write(text)
            file.flush()
            os.replace(file.name, path)
        except OSError:
            Path(file.name).unlink(missing_ok=True)
            raise
