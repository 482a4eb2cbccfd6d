"""What the checker is asked, and how its report is read; light, for those who run it in a child process."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from importlib import metadata, resources
from importlib.resources.abc import Traversable
from typing import Any

from genesys.checker.rules import RULES, STAGES, Stage
from genesys.errors import ConfigError, Finding, JobFailed, suggest
from genesys.gau import UnitTree
from genesys.ladder import Scale

CHECK_ENTRY = "genesys.checker.job:check"
CHEAP_STAGES: tuple[Stage, ...] = STAGES[: STAGES.index("effectiveness")]
"""Those that take a fraction of a second together; effectiveness takes seconds and is asked for by name."""

NEEDED_STAGES: tuple[Stage, ...] = ("static", "shape")
"""Stages without which no other runs: they say that the design can be built, and how wide it is."""

_VERSION = "2"  # raised when what decides a verdict lies outside of the packages below
_DECIDING_PACKAGES = ("checker", "gau", "gau/library/seeds", "gau/library/units", "model")


@dataclass(frozen=True, slots=True, kw_only=True)
class EffectivenessPolicy:
    """How much the effectiveness stage measures, and what it asks for.

    The bounds leave room above what was measured at this size: the seeds take up to 1.3 times the reference's FLOPs, 2.4
    times its elements and 1.8 times its memory; the library's units in the dearest surroundings 3.9, 4.6 and 3.5; all
    grow as L^1.62 at most and rise at 2 of 16 lengths. They are to stop what no ladder can afford, not to prefer the
    frugal.

    Attributes:
        lengths: Of the counted steps; each twice the one before.
        n_rows, context: Of a batch in the short training.
        n_steps, n_recall_steps: Of the short trainings.
        max_growth: Exponent of what each doubling of the length adds to the counted work; attention tends to 2 from below.
        max_rises: Of 16 single steps in length, how many may add operators: a loop over chunks of 4 adds at 4.
        max_work: FLOPs, or elements written, of a step over the reference's.
        max_loss_share: Loss at the end of the training over the loss at its start.
    """

    d_model: int = 128
    n_blocks: int = 2
    lengths: tuple[int, ...] = (64, 128, 256)
    n_rows: int = 4
    context: int = 128
    n_steps: int = 40
    n_recall_steps: int = 60
    max_growth: float = 2.1
    warn_growth: float = 1.8
    max_rises: int = 4
    max_work: float = 10.0
    warn_work: float = 5.0
    warn_time: float = 8.0
    warn_memory: float = 4.0
    max_loss_share: float = 0.9


def check_request(
    tree: UnitTree,
    scales: Iterable[Scale],
    vocab_size: int,
    *,
    stages: Collection[str] = CHEAP_STAGES,
    partial: bool = False,
    behaviour: bool = False,
    effectiveness: EffectivenessPolicy | None = None,
) -> dict[str, Any]:
    """The request of `CHECK_ENTRY` for a design on a ladder.

    Args:
        stages: Those to run; the ones that they need come with them.
        partial: Whether open slots are filled with placeholders instead of being findings.
        behaviour: Whether a sane design's fingerprint is taken, too.

    Raises:
        ConfigError: No such stage.
    """
    for stage in stages:
        if stage not in STAGES:
            raise ConfigError(f"Cannot run stage {stage!r}: expected {', '.join(STAGES)}.{suggest(stage, STAGES)}")
    return {
        "tree": tree.to_json(),
        "scales": [dict(_plain(scale)) for scale in scales],
        "vocab_size": vocab_size,
        "stages": [stage for stage in STAGES if stage in stages or stage in NEEDED_STAGES],
        "partial": partial,
        "behaviour": behaviour,
        "effectiveness": dict(_plain(effectiveness or EffectivenessPolicy())),
    }


@cache
def _plain(setting: Scale | EffectivenessPolicy) -> dict[str, Any]:
    return asdict(setting)


def policy_hash(request: Mapping[str, Any]) -> str:
    """SHA-256 of everything in a request but the design: scales, vocabulary, stages, bounds."""
    policy = {key: value for key, value in request.items() if key != "tree"}
    return hashlib.sha256(json.dumps(policy, sort_keys=True).encode()).hexdigest()


@cache
def checker_version() -> str:
    """A number, and a hash of what decides a verdict: the sources of checker, contract, model and library, and torch."""
    digest = hashlib.sha256(metadata.version("torch").encode())
    for package in _DECIDING_PACKAGES:
        for file in sorted((resources.files("genesys") / package).iterdir(), key=_name):
            if file.name.endswith((".py", ".json")):
                digest.update(file.name.encode() + b"\0" + file.read_bytes())
    return f"{_VERSION}-{digest.hexdigest()[:12]}"


def is_sane(report: Mapping[str, Any]) -> bool:
    """Whether a report holds no error."""
    return not any(finding["severity"] == "error" for finding in report["findings"])


def sketch_distance(a: Sequence[float], b: Sequence[float]) -> float | None:
    """How far two designs' outputs lie apart by their sketches: 0 for equal ones, about 1 for unrelated ones.

    None where a sketch is missing.
    """
    size = math.hypot(*a, *b)
    return math.dist(a, b) / size if len(a) == len(b) and size else None


def unchecked(tree: UnitTree, failure: JobFailed) -> Finding:
    """The finding of a check that gave no report."""
    return RULES[f"check-{failure.cause}"].finding(
        str(failure)[:500], "a check that ends with a verdict", unit=tree.unit.name
    )


def _name(file: Traversable) -> str:
    return file.name
