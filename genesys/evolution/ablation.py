"""What each unit of a design is worth: the same design without it, compared over common training seeds.

Pure: which designs to verify instead, and what their results say. `genesys ablate` does the work in between.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from genesys.evolution.comparison import DesignComparison, compare_designs, paired_runs
from genesys.evolution.events import (
    DesignImplemented,
    DesignProposed,
    LeaseGranted,
    RunStarted,
    VerificationFailed,
    VerificationRecorded,
)
from genesys.evolution.rating import FitnessRule, Metrics
from genesys.evolution.tree import EvolutionTree
from genesys.evolution.votes import absent_as, compared
from genesys.gau import Unit, UnitTree

SCHEMA = 1
"""Of what `report` gives."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ablation:
    """A design without one of its units: `replacement` stands in its place, and what the unit held is gone with it.

    Attributes:
        replacement: Name of the unit that took its place; of a wrapper's child, where that did.
    """

    path: str
    unit: str
    replacement: str
    tree: UnitTree


@dataclass(frozen=True, slots=True, kw_only=True)
class Results:
    """Verifications of one design at one scale: metrics by training seed, and the causes of those that failed."""

    metrics: Mapping[int, Metrics]
    failed: Mapping[int, str]


def ablations(tree: UnitTree, alphabet: Sequence[Unit]) -> dict[str, tuple[Ablation, ...]]:
    """For each unit but the root, by path, the designs without it, the simplest first.

    A wrapper gives way to what it holds. Else the identity comes first, a wrapper that holds nothing and fits every slot;
    then the alphabet's units of the same kind without slots, shortest source first, which serve where a design without
    the unit is no sound one. Whoever verifies takes the first that passes the checker.
    """
    identities = [unit for unit in alphabet if unit.kind == "wrapper" and not unit.slots]
    found = {}
    for path, place in tree.walk():
        if not path:
            continue
        inner = dict(place.children).get("inner") if place.unit.kind == "wrapper" else None
        plain = [unit for unit in alphabet if unit.kind == place.kind and not unit.slots]
        simple = [*identities, *sorted(plain, key=lambda unit: (len(unit.source), unit.name))]
        others = [UnitTree(unit) for unit in simple if unit != place.unit]
        if place.unit in identities:
            others = []
        found[path] = tuple(
            Ablation(path=path, unit=place.unit.name, replacement=other.unit.name, tree=tree.graft(path, other))
            for other in ([] if inner is None else [inner]) + others
        )
    return found


def compare_ablation(
    design: str, ablated: str, runs: Mapping[str, Results], *, scale: str, rule: FitnessRule
) -> DesignComparison | None:
    """The design against the one without a unit, so that differences are what the unit gives; None without a common seed.

    Fitness is raw, relative to the design itself. Each comparison is a claim of its own: it is not corrected for how many
    units there are.
    """
    tree = _books({name: runs[name] for name in (design, ablated)}, design, scale, rule)
    pairs = paired_runs(tree.record(design), tree.record(ablated), scale)
    if not pairs:
        return None
    metrics = compared(*(run.metrics for pair in pairs for run in pair))
    return compare_designs(tree, design, ablated, scale, metrics=metrics, best_of=1, absent_as=absent_as)


def report(
    design: str, name: str, taken: Sequence[Ablation], runs: Mapping[str, Results], *, scale: str, rule: FitnessRule,
    kept: Mapping[str, str],
) -> dict[str, Any]:  # fmt: skip
    """All of it as plain data, the unit that gives most fitness first; docs/ablation.md has the fields.

    Args:
        taken: One for each unit that could be replaced.
        kept: By path, why nothing could take a unit's place.
    """
    units = [_worth(design, ablation, runs, scale, rule) for ablation in taken]
    return {
        "schema": SCHEMA, "design": design, "name": name, "scale": scale, "runs": _runs_json(runs[design]),
        "units": sorted(units, key=_standing), "kept": [{"path": path, "reason": why} for path, why in kept.items()],
    }  # fmt: skip


def _worth(
    design: str, ablation: Ablation, runs: Mapping[str, Results], scale: str, rule: FitnessRule
) -> dict[str, Any]:
    ablated = ablation.tree.design_id
    found = compare_ablation(design, ablated, runs, scale=scale, rule=rule)
    details = [] if found is None else found.metrics
    return {
        "path": ablation.path, "unit": ablation.unit, "replacement": ablation.replacement, "design": ablated,
        "tree": ablation.tree.to_json(), "runs": _runs_json(runs[ablated]),
        "failed": {str(seed): cause for seed, cause in runs[ablated].failed.items()},
        "fitness": None if found is None else asdict(found.fitness),
        "metrics": [
            {"metric": m.metric, "sign": m.sign, "with": m.a, "without": m.b} | asdict(m.comparison) for m in details
        ],
    }  # fmt: skip


def _standing(worth: Mapping[str, Any]) -> tuple[float, str]:
    """Units without which the design fails first, then by what they give."""
    fitness = worth["fitness"]
    return (float("-inf") if fitness is None else -fitness["difference"], worth["path"])


def _runs_json(results: Results) -> dict[str, dict[str, float]]:
    return {str(seed): dict(metrics) for seed, metrics in results.metrics.items()}


def _books(runs: Mapping[str, Results], reference: str, scale: str, rule: FitnessRule) -> EvolutionTree:
    """Books that hold these verifications, so that they are compared as those of a run are."""
    tree = EvolutionTree(rule)
    n = len(runs)
    n_more = sum(len(results.metrics) + len(results.failed) for results in runs.values())
    config = {"replicate_quotas": {scale: n_more}}
    tree.apply(RunStarted(run="ablation", scales=(scale,), quotas=(n,), reference=reference, config=config))
    for design, results in runs.items():
        tree.apply(DesignProposed(design=design, name=design, program=design, operator="seed"))
        tree.apply(DesignImplemented(design=design))
        for seed in sorted({*results.metrics, *results.failed}):
            lease = tree.last_lease + 1
            tree.apply(LeaseGranted(lease=lease, design=design, scale=scale, holder="ablate", seed=seed))
            ended: VerificationFailed | VerificationRecorded
            if seed in results.failed:
                ended = VerificationFailed(
                    lease=lease, design=design, scale=scale, seed=seed, cause=results.failed[seed]
                )
            else:
                ended = VerificationRecorded(
                    lease=lease, design=design, scale=scale, seed=seed, metrics=results.metrics[seed], report=""
                )
            tree.apply(ended)
    return tree
