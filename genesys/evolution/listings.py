"""The statistics of a run as plain data, as `docs/json.md` describes them. Keys are only ever added."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict
from math import isfinite
from statistics import fmean
from typing import Any

from genesys.errors import ConfigError, suggest
from genesys.evolution.comparison import common_scales, compare_designs, measured_runs
from genesys.evolution.inference import MIN_PAIRS
from genesys.evolution.leaderboard import LeaderboardRow, lead_of_best, leaderboard
from genesys.evolution.signal import ScaleSignals, read_tasks, untouched
from genesys.evolution.tree import EvolutionTree
from genesys.evolution.votes import absent_as, compared, earned, probe_names, task_names, task_of, votes
from genesys.evolution.winners import group_contest, seeds_and_discovered, task_winners

Json = dict[str, Any]


def list_leaders(tree: EvolutionTree, limit: int | None = None) -> list[Json]:
    """The rows of the leaderboard, best first."""
    return [_leader(row) for row in leaderboard(tree, limit)]


def list_lead(tree: EvolutionTree) -> Json | None:
    """The single best design's lead beside that of luck; None before two designs are rated at its scale."""
    lead = lead_of_best(tree)
    return None if lead is None else asdict(lead) | {"name": tree.record(lead.design).name}


def list_winners(tree: EvolutionTree, scale: str | None = None) -> list[Json]:
    """The highest design on each task and probe at a scale, by default the leader's."""
    scale = _scale(tree, scale)
    return [
        {"task": task_of(w.vote), "scale": scale, "name": tree.record(w.design).name, **asdict(w)}
        for w in task_winners(tree, scale)
    ]


def list_groups(tree: EvolutionTree, scale: str | None = None) -> list[Json]:
    """Seeds against discovered designs at a scale, by default the leader's; empty unless both have results there."""
    scale = _scale(tree, scale)
    groups = seeds_and_discovered(tree, scale)
    contest = group_contest(tree, scale, groups) if len(groups) > 1 else ()
    return [{"scale": scale, "n_designs": len(group.designs), **asdict(group)} for group in contest]


def list_comparison(tree: EvolutionTree, a: str, b: str, scale: str | None = None, best_of: int | None = None) -> Json:
    """Design A against design B, paired over training seeds, by default at the highest scale that they share.

    Raises:
        ConfigError: They share no seed there, or are one design; or there is no such scale.
    """
    shared = common_scales(tree, a, b)
    where = scale or (shared[-1] if shared else _scale(tree, None))
    if where not in tree.scales:
        raise ConfigError(f"Cannot find scale {where!r} in this run.{suggest(where, tree.scales)}")
    metrics = [run.metrics for design in (a, b) for run in tree.record(design).committed(where)]
    found = compare_designs(tree, a, b, where, metrics=compared(*metrics), best_of=best_of, absent_as=absent_as)
    names = {"name_a": tree.record(a).name, "name_b": tree.record(b).name}
    details = [{"metric": m.metric, "sign": m.sign, "a": m.a, "b": m.b} | asdict(m.comparison) for m in found.metrics]
    return names | asdict(found) | {"metrics": details, "min_pairs": MIN_PAIRS}


def list_tasks(
    tree: EvolutionTree, scale: str | None = None, *, costs: Mapping[str, float] | None = None, unit: str = "",
    candidates: Iterable[str] = (),
) -> Json:  # fmt: skip
    """What each task and probe tells, the suite that this proposes, and what this run has read.

    Args:
        costs: By name, in `unit`.
        candidates: Tasks of which to say whether a final comparison may use them.
    """
    scale = _scale(tree, scale, most_designs=True)
    signals = ScaleSignals(tree, scale, costs)
    suite = signals.propose()
    tasks = [
        {"task": task_of(s.vote), **asdict(s), "signal_to_noise": _finite(s.signal_to_noise)} for s in signals.tasks()
    ]
    return {
        "scale": scale, "n_designs": signals.n_designs, "cost_unit": unit if costs else "", "tasks": tasks,
        "proposed": None if suite is None else asdict(suite), "read": list(read_tasks(tree)),
        "untouched": list(untouched(tree, candidates)),
    }  # fmt: skip


def _leader(row: LeaderboardRow) -> Json:
    return {
        "design": row.design,
        "name": row.name,
        "scale": row.scale,
        "fitness": row.fitness.value,
        "interval": [row.fitness.low, row.fitness.high],
        "val_bpb": row.metrics.get("test_bpb"),
        "probes": {name: row.metrics[f"probe_{name}"] for name in probe_names(row.metrics)},
        "n_params": row.size.get("n_params"),
        "n_tokens": row.n_tokens,
        "is_seed": row.is_seed,
        "operator": row.operator,
        "seconds": row.seconds,
        "n_seeds": row.n_seeds,
        "against_reference": None if row.against_reference is None else asdict(row.against_reference),
        "tasks": {name: _result(row.metrics, name) for name in task_names(row.metrics)},
        "task_score": _task_score(row.metrics),
        "twins": list(row.twins),
    }


def _result(metrics: Mapping[str, float], task: str) -> Json:
    """A task's figures; `vote` is the metric that ranks it."""
    key = f"task_{task}"
    figures = {what: metrics.get(f"{key}_{what}") for what in ("se", "chance", "majority", "prob", "prob_se")}
    return {"accuracy": metrics.get(key), **figures, "vote": f"{key}_prob" if f"{key}_prob" in metrics else key}


def _task_score(metrics: Mapping[str, float]) -> float | None:
    """Mean over the tasks of what each earns: 0 at chance, 1 for perfection."""
    found = [earned(metrics, vote) for vote in votes(metrics) if vote.startswith("task_")]
    return fmean(found) if found else None


def _scale(tree: EvolutionTree, scale: str | None, *, most_designs: bool = False) -> str:
    """The scale asked for; else the leader's, or the one where most designs were measured.

    Raises:
        ConfigError: No such scale, or nothing was measured there.
    """
    if scale is not None and scale not in tree.scales:
        raise ConfigError(
            f"Cannot find scale {scale!r}; this run has {', '.join(tree.scales)}.{suggest(scale, tree.scales)}"
        )
    counts = {name: len(measured_runs(tree, name)) for name in tree.scales}
    if scale is None and most_designs:
        scale = max(counts, key=lambda name: counts[name], default=None)
    elif scale is None:
        scale = next((name for name in reversed(tree.scales) if counts[name]), None)
    if scale is None or not counts[scale]:
        raise ConfigError(
            f"Cannot compare designs at {scale or 'any scale'}: none has been verified there. Let the run go on with --resume."
        )
    return scale


def _finite(value: float) -> float | None:
    return value if isfinite(value) else None
