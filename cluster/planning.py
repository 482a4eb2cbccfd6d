"""A run's configuration with everything that it names looked up, before anything is started."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields, is_dataclass
from pathlib import Path
from random import Random
from typing import Any

from genesys.agents.programs import encode_program
from genesys.config import RunConfig, load_design, strategy
from genesys.errors import ConfigError
from genesys.evolution import EvolutionTree
from genesys.evolution.events import DesignImplemented, DesignProposed, RunStarted
from genesys.evolution.fitness import resolve_fitness
from genesys.evolution.promotion import PromotionStrategy, resolve_promotion
from genesys.evolution.selection import SelectionStrategy, resolve_selection, select_safely
from genesys.gau import UnitTree
from genesys.gau.library import SEED_NAMES
from genesys.gau.normal_form import normal_form
from genesys.ladder import Ladder
from genesys.storage import RunStore, content_hash


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """A configuration with everything it names looked up."""

    config: RunConfig
    ladder: Ladder
    store: RunStore
    selection: SelectionStrategy
    promotion: PromotionStrategy
    started: RunStarted
    seeds: tuple[DesignProposed, ...]
    programs: tuple[bytes, ...]


def make_plan(
    config: RunConfig,
    store: RunStore,
    selection: SelectionStrategy | None = None,
    promotion: PromotionStrategy | None = None,
    *,
    data_hash: str = "",
) -> Plan:
    """Look up what a configuration names, and try its selection strategy.

    Raises:
        ConfigError: Something is not there or does not fit.
    """
    designs = _starting_designs(config)
    ladder = config.resolved_ladder()
    programs = tuple(map(encode_program, designs.values()))
    configured, promoting = config.selection_with_rates(), strategy(config.promotion)
    plan = Plan(
        config=config,
        ladder=ladder,
        store=store,
        selection=resolve_selection(selection or configured.name, configured.options if selection is None else None),
        promotion=resolve_promotion(promotion or promoting.name, promoting.options if promotion is None else None),
        started=RunStarted(
            run=store.root.name,
            scales=ladder.names,
            quotas=ladder.quotas,
            costs=tuple(float(scale.n_tokens) for scale in ladder.scales),
            reference=designs[config.reference].design_id if config.reference else "",
            config=plain(
                asdict(config)
                | {"data_hash": data_hash, "scales": [asdict(scale) for scale in ladder.scales]}
                | {"replicate_quotas": config.replicate_quotas()}
                | ({"promotion": _recorded(promotion)} if promotion is not None else {})
                | {"caps": config.budget.caps().to_json(), "run_costs": _costs_json(config)}
            ),
        ),
        seeds=tuple(
            _proposed(name, *both)
            for name, both in zip(designs, zip(designs.values(), programs, strict=True), strict=True)
        ),
        programs=programs,
    )
    _try_selection(plan.selection, plan.started, plan.seeds)
    return plan


def _recorded(promotion: PromotionStrategy) -> dict[str, Any]:
    """A strategy object as a configuration would name it, for whoever reads the run later."""
    kind = type(promotion)
    names: list[str] = [f.name for f in fields(promotion)] if is_dataclass(promotion) else []
    options = {name: getattr(promotion, name) for name in names}
    plain = {name: value for name, value in options.items() if isinstance(value, int | float | str | None)}
    return {"name": f"{kind.__module__}:{kind.__qualname__}", "options": plain}


def _costs_json(config: RunConfig) -> dict[str, dict[str, float]]:
    return {s: {"n_tokens": c.n_tokens, "gpu_seconds": c.gpu_seconds} for s, c in config.run_costs().items()}


def _starting_designs(config: RunConfig) -> dict[str, UnitTree]:
    """The seeds, and the user's own, by name."""
    designs = {name: load_design(name) for name in config.seeds}
    for path in config.designs:
        tree = load_design(path)
        if tree.open_slots():
            raise ConfigError(
                f"Cannot start from design {path!r}: open slots {', '.join(tree.open_slots())}. Fill them."
            )
        name = Path(path).stem
        if name in designs or name in SEED_NAMES:
            raise ConfigError(
                f"Cannot start from design {path!r}: a design called {name!r} is there already. Rename the file."
            )
        designs[name] = tree
    if config.reference and config.reference not in designs:
        designs = {config.reference: load_design(config.reference)} | designs
    return designs


def _proposed(name: str, tree: UnitTree, program: bytes) -> DesignProposed:
    return DesignProposed(
        design=tree.design_id,
        name=name,
        program=content_hash(program),
        operator="seed" if name in SEED_NAMES else "given",
        parts=tuple(unit.name for unit in tree.units()),
        is_seed=name in SEED_NAMES,
        normal_form=normal_form(tree),
    )


def _try_selection(strategy: SelectionStrategy, started: RunStarted, seeds: tuple[DesignProposed, ...]) -> None:
    """Ask a strategy once about the seeds, so that one that answers nonsense is refused before anything runs.

    Raises:
        ConfigError: It raised, or its answer cannot be acted on.
    """
    tree = EvolutionTree(resolve_fitness())
    tree.apply(started)
    for seed in seeds:
        tree.apply(seed)
        tree.apply(DesignImplemented(design=seed.design))
    _, failure = select_safely(strategy, tree.population(), Random(0))
    if failure is not None:
        raise ConfigError(
            f"Cannot use selection strategy {failure.strategy!r}: asked about the seeds, {failure.reason.rstrip('.')}."
        )


def plain(value: Any) -> Any:
    """Nested dataclass fields as a YAML or JSON file holds them: mappings and lists."""
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    return [plain(item) for item in value] if isinstance(value, (tuple, list)) else value
