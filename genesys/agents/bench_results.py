"""What came of a bench: a line for each problem, flow and model, and the shares and costs that they add up to."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from statistics import fmean
from typing import Any, Literal

from genesys.evolution.calibration import share

BenchFlow = Literal["direct", "units", "beam"]
"""The whole block in one answer; unit by unit, greedily; unit by unit with a beam."""
FLOWS: tuple[BenchFlow, ...] = ("direct", "units", "beam")
VALID = "valid"
NO_RESULT = frozenset({"unavailable", "stale"})
"""Outcomes that say nothing of a model: nobody answered, or another version of Genesys began. They are tried again."""
RESULTS_FILE = "results.jsonl"


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What came of a case.

    Attributes:
        outcome: `valid`, or why there is no design, as in `SessionOutcome.cause`; `unavailable` when nobody answered, `reuse`
            where the proposal asks for something new and a unit of the library was put in its place.
        n_answers, n_useful: Of the coder: its answers, uses of tools included, and those that were built upon.
        n_calls, n_input, n_output, cost_usd: Of all roles, from the books of calls.
    """

    problem: str
    mode: str
    new_units: int
    flow: str
    model: str
    session: str
    outcome: str
    reason: str
    design: str
    n_answers: int
    n_useful: int
    n_calls: int
    n_input: int
    n_output: int
    cost_usd: float

    @property
    def key(self) -> tuple[str, str, str]:
        return self.problem, self.flow, self.model

    @property
    def is_valid(self) -> bool:
        return self.outcome == VALID

    @property
    def is_straight(self) -> bool:
        """Whether it is valid and no answer of the coder was in vain."""
        return self.is_valid and self.n_useful == self.n_answers


def read_results(folder: Path) -> list[Result]:
    """Results in the order in which they came; a line that was cut off by a crash is left out."""
    known = {f.name for f in fields(Result)}
    path = folder / RESULTS_FILE
    lines = path.read_text(encoding="utf-8").split("\n")[:-1] if path.exists() else []
    return [Result(**{k: v for k, v in json.loads(line).items() if k in known}) for line in lines]


def rates(results: Iterable[Result]) -> list[dict[str, Any]]:
    """By flow and model: how many are valid, with Wilson's interval at 95%, and what they took, as plain data."""
    groups: dict[tuple[str, str], list[Result]] = {}
    for result in results:
        if result.outcome not in NO_RESULT:
            groups.setdefault((result.flow, result.model), []).append(result)
    order: dict[str, int] = {flow: i for i, flow in enumerate(FLOWS)}
    return [
        {"flow": flow, "model": model, **_rate(group)}
        for (flow, model), group in sorted(groups.items(), key=lambda item: (item[0][1], order[item[0][0]]))
    ]


def _rate(group: Sequence[Result]) -> dict[str, Any]:
    n_valid, usd = sum(result.is_valid for result in group), sum(result.cost_usd for result in group)
    return {
        "n": len(group),
        "n_valid": n_valid,
        "valid": asdict(share(n_valid, len(group))),
        "straight": asdict(share(sum(result.is_straight for result in group), len(group))),
        "answers": fmean(result.n_answers for result in group),
        "n_calls": sum(result.n_calls for result in group),
        "n_input": sum(result.n_input for result in group),
        "n_output": sum(result.n_output for result in group),
        "usd": usd,
        "usd_per_valid": usd / n_valid if n_valid else None,
        "causes": dict(Counter(result.outcome for result in group if not result.is_valid).most_common()),
        "modes": _shares_by(group, "mode"),
        "new_units": _shares_by(group, "new_units"),
    }


def _shares_by(group: Sequence[Result], column: str) -> dict[str, Any]:
    values = sorted({getattr(result, column) for result in group})
    split = {value: [result.is_valid for result in group if getattr(result, column) == value] for value in values}
    return {str(value): asdict(share(sum(valid), len(valid))) for value, valid in split.items()}
