"""A list of configurations on equal budgets, each over some seeds, one run after the other; any moment may be its last."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from cluster.planning import make_plan
from genesys.config import RunConfig, load_config
from genesys.config.agents import uses_models
from genesys.errors import ConfigError, TransientError, suggest
from genesys.evolution import EvolutionTree
from genesys.evolution.courses import Arm, Course, Means, compare_arms, course, equal_amounts, yardstick
from genesys.evolution.events import Event, RunStarted
from genesys.evolution.fitness import resolve_fitness
from genesys.storage import RunStore, open_tree

BUDGETS: Mapping[str, Means] = {"designs": "designs", "gpu_hours": "hours", "usd": "usd"}
N_TRIES = 3
_RECORD = "ablations.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """One configuration under the budget, with one seed; `folder` is its run's."""

    name: str
    seed: int
    config: RunConfig
    folder: Path

    @property
    def is_finished(self) -> bool:
        return RunStore(self.folder).exists and bool(_read(self.folder)[0].finished)


@dataclass(frozen=True, slots=True, kw_only=True)
class Results:
    """What the runs there are say; `amounts` are those at which they are compared."""

    scale: str
    amounts: Mapping[Means, float]
    on_gpus: bool
    arms: Sequence[Arm]
    courses: Mapping[str, Mapping[int, Course]]


def plan_trials(
    configs: Sequence[Path], out: Path, *, n_seeds: int, budget: Mapping[str, float], base: Path | None = None
) -> list[Trial]:
    """The runs to make, seed by seed, so that those there are compare at any time.

    Raises:
        ConfigError: A configuration or a budget that cannot be, or one other than the runs in `out` were begun with.
    """
    named = {path.stem: path for path in configs}
    if len(named) < len(configs):
        raise ConfigError("Cannot run two configurations of one name: the table would mix them. Rename a file.")
    _check_budget(budget)
    loaded = {name: under_budget(load_config(path, base), budget) for name, path in named.items()}
    trials = []
    for k in range(n_seeds):
        for name, config in loaded.items():
            seed = config.seed + k
            storage = replace(config.storage, url=str(out.absolute()))
            folder = out.absolute() / f"{name}-{seed}"
            trials.append(
                Trial(name=name, seed=seed, config=replace(config, seed=seed, storage=storage), folder=folder)
            )
    for trial in trials[: len(loaded)]:
        make_plan(trial.config, RunStore(trial.folder))  # all mistakes come out before the first run
    _keep_record(out, {"budget": dict(budget), "base": str(base or "")})
    return trials


def under_budget(config: RunConfig, budget: Mapping[str, float]) -> RunConfig:
    """The configuration with no more than a budget: designs found, GPU-hours, and dollars.

    Dollars bound the calls, and by themselves the GPU time where it has a price.
    """
    if "designs" in budget:
        starting = {*config.seeds, *config.designs, *filter(None, [config.reference])}
        most = int(budget["designs"]) + len(starting)
        above = config.resolved_ladder().quotas[1:]
        config = replace(config, quotas=(most, *(min(quota, most) for quota in above)))
    if "gpu_hours" in budget:
        config = replace(config, budget=replace(config.budget, gpu_hours=budget["gpu_hours"]))
    if "usd" in budget and config.budget.usd_per_gpu_hour > 0:
        config = replace(config, budget=replace(config.budget, usd=budget["usd"]))
    if "usd" in budget and uses_models(config.designers.kinds):
        caps = replace(config.agents.caps, run=budget["usd"])
        config = replace(config, agents=replace(config.agents, caps=caps))
    return config


def run_trials(
    trials: Sequence[Trial], evolve: Callable[..., Any], on_trial: Callable[[Trial, str], None] = lambda *_: None,
    **options: Any,
) -> None:  # fmt: skip
    """Make the runs that are not finished, and go on with those that were interrupted.

    Args:
        evolve: `cluster.evolve.evolve`, to which `options` go.
        on_trial: Is told `begins`, `goes on` or `is there` of each.

    Raises:
        TransientError: The cluster could not keep a run alive, in several tries; the same call goes on.
    """
    for trial in trials:
        if trial.is_finished:
            on_trial(trial, "is there")
            continue
        for n_left in reversed(range(N_TRIES)):
            resume = RunStore(trial.folder).exists
            on_trial(trial, "goes on" if resume else "begins")
            try:
                evolve(trial.config, trial.folder, resume=resume, **options)
                break
            except TransientError:
                if not n_left:
                    raise


def results(trials: Sequence[Trial], budget: Mapping[str, float], scale: str | None = None) -> Results:
    """Compare the runs that there are, finished or not.

    Raises:
        ConfigError: None is there yet, or they cannot be compared.
    """
    there = [(trial, *_read(trial.folder)) for trial in trials if RunStore(trial.folder).exists]
    begun = [(trial, tree, events) for trial, tree, events in there if tree.run is not None]
    stick = yardstick([tree for _, tree, _ in begun], scale)
    courses: dict[str, dict[int, Course]] = {}
    for trial, tree, events in begun:
        price = trial.config.budget.usd_per_gpu_hour
        found = course(events, stick, lowest=tree.scales[0], usd_per_gpu_hour=price)
        courses.setdefault(trial.name, {})[trial.seed] = found
    every = [found for by_seed in courses.values() for found in by_seed.values()]
    amounts = equal_amounts(every, {BUDGETS[name]: amount for name, amount in budget.items()})
    return Results(
        scale=stick.scale, amounts=amounts, on_gpus=any(found.on_gpus for found in every),
        arms=compare_arms(courses, amounts), courses=courses,
    )  # fmt: skip


def _read(folder: Path) -> tuple[EvolutionTree, list[Event]]:
    with closing(RunStore(folder).journal(mode="reader")) as journal:
        events = [entry.event for entry in journal.read()]
        first = events[0] if events else None
        rule = first.config.get("fitness", "relative") if isinstance(first, RunStarted) else "relative"
        return open_tree(journal, resolve_fitness(rule)), events


def _check_budget(budget: Mapping[str, float]) -> None:
    for name, amount in budget.items():
        if name not in BUDGETS:
            raise ConfigError(f"Cannot budget {name!r}: expected {', '.join(BUDGETS)}.{suggest(name, BUDGETS)}")
        if not 0 < amount < float("inf") or (name == "designs" and amount != int(amount)):
            what = "a whole number" if name == "designs" else "a number"
            raise ConfigError(f"Cannot budget {name} = {amount:g}: expected {what} above 0.")


def _keep_record(out: Path, said: Mapping[str, Any]) -> None:
    """Note what the runs of a folder have in common, and refuse others: they could not be compared."""
    path = out / _RECORD
    if path.exists() and (before := json.loads(path.read_text(encoding="utf-8"))) != said:
        raise ConfigError(
            f"Cannot go on in {str(out)!r} with {json.dumps(said)}: its runs were begun with {json.dumps(before)}. Restore "
            "that, or choose another --out."
        )
    out.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(said), encoding="utf-8")


def results_to_json(found: Results) -> dict[str, Any]:
    """Everything as plain data, each run's course included."""
    return {
        "scale": found.scale,
        "equal_amounts": {means: amount for means, amount in found.amounts.items() if amount < float("inf")},
        "hours_of": "GPUs" if found.on_gpus else "verifiers",
        "configs": [asdict(arm) for arm in found.arms],
        "runs": [
            {"config": name, "seed": seed, **asdict(run)}
            for name, by_seed in found.courses.items()
            for seed, run in by_seed.items()
        ],
    }
