"""The checker as one job: stages in order of cost, ending at the first that finds an error."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any

import torch

from genesys.checker.behaviour import check_causality, check_gradient, check_run
from genesys.checker.static import check_static
from genesys.errors import Finding
from genesys.gau import UnitTree
from genesys.ladder import Scale
from genesys.model import TunedSize, tune_sizes

CHECKER_VERSION = "1"
MAX_CHECKED_WIDTH = 128


def check(request: Mapping[str, Any]) -> dict[str, Any]:
    """Check one design. Runs its code: an entry for `Cage.run`.

    Args:
        request: `{"tree", "scales": [Scale fields], "vocab_size"}`.

    Returns:
        `{"design", "checker", "findings": [...], "sizes": {scale: {...}}}`; sane when no finding is an error.
    """
    torch.set_num_threads(1)
    tree = UnitTree.from_json(request["tree"])
    scales = [Scale(**fields) for fields in request["scales"]]
    sizes: list[TunedSize] = []

    def shape() -> list[Finding]:
        sizes.extend(tune_sizes(tree, scales, request["vocab_size"]))
        return [finding for size in sizes for finding in size.findings]

    def widths() -> tuple[int, ...]:
        tuned = sorted({min(size.shape.d_model, MAX_CHECKED_WIDTH) for size in sizes})
        return tuned[0], (tuned[1] if len(tuned) > 1 else tuned[0] + scales[0].width_step)

    stages: tuple[tuple[str, Callable[[], list[Finding]]], ...] = (
        ("static", lambda: check_static(tree)),
        ("shape", shape),
        ("run", lambda: check_run(tree, widths())),
        ("causality", lambda: check_causality(tree, widths()[0])),
        ("gradient", lambda: check_gradient(tree, widths()[0])),
    )
    findings: list[Finding] = []
    for name, stage in stages:
        findings += _run_stage(tree, name, stage)
        if any(finding.severity == "error" for finding in findings):
            break
    return {
        "design": tree.design_id,
        "checker": CHECKER_VERSION,
        "findings": [finding.to_json() for finding in findings],
        "sizes": {size.scale: asdict(size.shape) | {"n_params": size.n_params, "error": size.error} for size in sizes},
    }


def _run_stage(tree: UnitTree, name: str, stage: Callable[[], list[Finding]]) -> list[Finding]:
    try:
        return stage()
    except Exception as error:  # generated code may raise anything: its failure is a finding
        message = f"{type(error).__name__}: {error}"[:500]
        return [
            Finding(
                rule=f"{name}-error",
                unit=tree.unit.name,
                line=_line_in_unit(error),
                measured=message,
                required=f"the {name} stage runs through",
                hint="Repair the line; the message is Python's.",
            )
        ]


def _line_in_unit(error: Exception) -> int | None:
    line, trace = None, error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename.startswith("<unit "):
            line = trace.tb_lineno
        trace = trace.tb_next
    return line
