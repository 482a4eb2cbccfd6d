"""Two reports of the same verification, compared figure by figure.

On one CPU thread in float32, with equal software on an equal machine, a verification repeats bit for bit. Elsewhere the
losses of a training are held to 1e-4 nats (decisions.md 14), and shares of right answers to their own standard error.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from genesys.verification.report import loss_curve
from genesys.verification.types import VerificationReport

LOSS_TOLERANCE_NATS = 1e-4

_SPEEDS = ("tokens_per_s",)
_UNTRAINED = ("n_params", "unigram_bpb")
_COUNTED = ("flops_per_token",)
_EXACT_SUFFIXES = ("_chance", "_majority")

Verdict = Literal["equal", "within", "differs"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ComparedFigure:
    """One figure, then and now; `new` is None where it was not measured again."""

    name: str
    old: float
    new: float | None
    tolerance: float

    @property
    def difference(self) -> float:
        return math.nan if self.new is None else self.new - self.old

    @property
    def verdict(self) -> Verdict:
        if self.new == self.old:
            return "equal"
        return "within" if abs(self.difference) <= self.tolerance else "differs"  # NaN differs


@dataclass(frozen=True, slots=True, kw_only=True)
class Reproduction:
    """How a second verification compares with the first.

    Attributes:
        exact: Whether bit-equal figures and weights are required.
        changes: What is not as it was: software, hardware, recipe, data; one phrase each.
    """

    old: VerificationReport
    new: VerificationReport
    figures: tuple[ComparedFigure, ...]
    exact: bool
    changes: tuple[str, ...]

    @property
    def same_weights(self) -> bool:
        return self.old.weights_sha256 == self.new.weights_sha256

    @property
    def holds(self) -> bool:
        return all(f.verdict != "differs" for f in self.figures) and (self.same_weights or not self.exact)

    def to_json(self) -> dict[str, Any]:
        figures = [
            {
                "name": f.name,
                "old": f.old,
                "new": f.new,
                "difference": None if f.new is None else f.difference,
                "tolerance": f.tolerance,
                "verdict": f.verdict,
            }
            for f in self.figures
        ]
        return {
            "holds": self.holds, "exact": self.exact, "same_weights": self.same_weights, "changes": list(self.changes),
            "design_id": self.old.design_id, "scale": self.old.scale, "seed": self.old.seed, "figures": figures,
        }  # fmt: skip


def compare_reports(old: VerificationReport, new: VerificationReport) -> Reproduction:
    """Compare every metric of the old report, and the training losses at the point where they are furthest apart.

    Speeds are left out. A metric that only the new report has is no figure of the old one and is passed over.
    """
    changes = tuple(_changes(old, new))
    exact = not changes and _repeats(old) and _repeats(new)
    figures = [
        ComparedFigure(
            name=name, old=value, new=new.metrics.get(name), tolerance=0.0 if exact else _tolerance(name, old.metrics)
        )
        for name, value in sorted(old.metrics.items())
        if name not in _SPEEDS
    ]
    figures += _curve(old, new, tolerance=0.0 if exact else LOSS_TOLERANCE_NATS)
    return Reproduction(old=old, new=new, figures=tuple(figures), exact=exact, changes=changes)


def _repeats(report: VerificationReport) -> bool:
    """Whether this verification ran where a training repeats bit for bit."""
    trained = report.details.get("train", {})
    return (
        report.config.get("n_threads") == 1
        and trained.get("n_processes", 1) == 1
        and trained.get("dtype", "fp32") == "fp32"
        and not trained.get("gpu_seconds")
    )


def _changes(old: VerificationReport, new: VerificationReport) -> list[str]:
    found = [
        f"{what} {before!s:.16} -> {after!s:.16}"
        for what, before, after in (
            ("recipe", old.recipe_hash, new.recipe_hash),
            ("data", old.data_hash, new.data_hash),
        )
        if before != after
    ]
    pairs = ((old.software, new.software), (old.hardware, new.hardware), (_means(old), _means(new)))
    for before, after in pairs:
        found += [
            f"{key} {before.get(key, 'unknown')} -> {after.get(key, 'unknown')}"
            for key in sorted(before.keys() | after.keys())
            if before.get(key) != after.get(key) and key != "cpus"  # how many stand idle decides nothing
        ]
    return found


def _means(report: VerificationReport) -> dict[str, Any]:
    """How the host carried the training out, as far as it decides bits."""
    defaults = {"dtype": "fp32", "n_processes": 1, "compiled": "no", "n_accumulation": 1}  # before they were recorded
    trained = {**defaults, **report.details.get("train", {})}
    trained["compiled"] = str(trained["compiled"]).partition(":")[0]  # a reason follows
    return {key: trained[key] for key in defaults}


def _tolerance(name: str, metrics: Mapping[str, float]) -> float:
    if name in _UNTRAINED or name.endswith(_EXACT_SUFFIXES):
        return 1e-9 * abs(metrics[name])  # the order of a sum
    if name in _COUNTED:
        return 0.01 * metrics[name]  # another torch may count an operator otherwise
    if name.endswith("_nats"):
        return LOSS_TOLERANCE_NATS
    if name.endswith("_bpb"):
        return LOSS_TOLERANCE_NATS / math.log(2)  # a token is a byte at least
    if name.endswith("_se"):
        return 0.1 * metrics[name]
    return metrics.get(f"{name}_se", 0.0)


def _curve(old: VerificationReport, new: VerificationReport, *, tolerance: float) -> list[ComparedFigure]:
    before, after = dict(loss_curve(old.details)), dict(loss_curve(new.details))
    both = before.keys() & after.keys()
    if not both:
        return []
    furthest = max(both, key=lambda n_tokens: (abs(after[n_tokens] - before[n_tokens]), -n_tokens))
    return [
        ComparedFigure(
            name=f"train_loss_nats at {furthest:,} tokens",
            old=before[furthest],
            new=after[furthest],
            tolerance=tolerance,
        )
    ]
