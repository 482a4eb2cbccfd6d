"""Run an evolution from its configuration to its end, on whatever Ray there is."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Callable
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path

import yaml

from actors.budget_scheduler import SchedulerSettings
from actors.designer import encode_program
from actors.evolution_tree import TreeSettings
from actors.handles import RayObjects
from actors.messages import Submission
from actors.verifier import VerifierSettings, pack_shards
from cluster.driver import Driver, Snapshot
from cluster.session import Session, is_job, ray_session, require_cards
from cluster.spawn import cache_folder, spawn_designer, spawn_scheduler, spawn_tree, spawn_verifier
from genesys.config import RunConfig, load_design, strategy
from genesys.errors import ConfigError
from genesys.evolution.events import DesignProposed, RunResumed, RunStarted
from genesys.evolution.operators import design_name
from genesys.evolution.promotion import PromotionStrategy, resolve_promotion
from genesys.evolution.selection import SelectionStrategy, resolve_selection
from genesys.evolution.status import RunStatus
from genesys.gau import UnitTree
from genesys.gau.library import SEED_NAMES
from genesys.storage import RunStore, content_hash
from genesys.train.shards import Shards, prepare_shards

STOP_FILE = "stop"
SERVICE_CPUS = 2


def evolve(
    config: RunConfig,
    run_folder: Path,
    *,
    resume: bool = False,
    selection: SelectionStrategy | None = None,
    promotion: PromotionStrategy | None = None,
    on_snapshot: Callable[[Snapshot], None] = lambda _: None,
    on_session: Callable[[Session], None] = lambda _: None,
    dashboard: bool = True,
) -> RunStatus:
    """Run an evolution until its quotas are spent or it is drained.

    Args:
        run_folder: Where journal, blobs and artifacts go; absolute and shared by all hosts on a cluster.
        resume: Go on with the run that stands there.
        selection, promotion: Strategy objects that replace the configured ones.

    Raises:
        ConfigError: The configuration cannot be run here; nothing was started.
        TransientError: The cluster could not keep the run alive; the run can be resumed.
    """
    store = RunStore(run_folder)
    _check_folder(store, resume)
    designs = _starting_designs(config)
    resolve_selection(*_strategy_arguments(config.selection, selection))
    resolve_promotion(*_strategy_arguments(config.promotion, promotion))
    shards = prepare_shards(config.corpus, cache_folder())
    store.root.mkdir(parents=True, exist_ok=True)
    store.config_path.write_text(yaml.safe_dump(_plain(asdict(config)), sort_keys=False), encoding="utf-8")
    (store.root / STOP_FILE).unlink(missing_ok=True)
    n_cpus = config.verifiers.n * config.verifiers.threads + config.designers.n + SERVICE_CPUS
    with ray_session(namespace=store.root.name, n_cpus=n_cpus, dashboard=dashboard) as session:
        if session.n_hosts > 1 and not Path(config.storage.url).is_absolute():
            raise ConfigError(
                f"Cannot keep a run of {session.n_hosts} hosts in {config.storage.url!r}: hosts would not share it. Set "
                f"storage.url to an absolute folder that all hosts can reach."
            )
        require_cards(config.verifiers.n, config.verifiers.gpus_per_verification, config.verifiers.accelerator_type, session)
        on_session(session)
        return asyncio.run(_drive(config, store, designs, shards, selection, promotion, on_snapshot, resume))


async def _drive(
    config: RunConfig,
    store: RunStore,
    designs: dict[str, UnitTree],
    shards: Shards,
    selection: SelectionStrategy | None,
    promotion: PromotionStrategy | None,
    on_snapshot: Callable[[Snapshot], None],
    resume: bool,
) -> RunStatus:
    ladder, objects = config.resolved_ladder(), RayObjects()
    chosen_selection, selection_options = _strategy_arguments(config.selection, selection)
    chosen_promotion, promotion_options = _strategy_arguments(config.promotion, promotion)
    tree = spawn_tree(
        TreeSettings(
            run_folder=store.root, selection=chosen_selection, selection_options=selection_options, seed=config.seed,
            ahead=config.designers.ahead, max_failed_proposals=config.designers.max_failed,
        )  # fmt: skip
    )
    await tree.start(_run_started(config, store.root.name, designs), _submissions(designs, objects))
    scheduler = spawn_scheduler(
        tree,
        SchedulerSettings(
            scales=ladder.scales, promotion=chosen_promotion, promotion_options=promotion_options, seed=config.seed
        ),
    )
    if resume:
        await scheduler.release("", "stopped", "the driver that held them ended")
        await tree.append(RunResumed(reason="resumed"), -1)
    settings = VerifierSettings(
        run_folder=store.root, cache_folder=cache_folder(), threads=config.verifiers.threads,
        deadline_s=config.verifiers.deadline_s, probes=config.verifiers.probes,
    )  # fmt: skip
    data = pack_shards(shards.path, shards.hash, objects)
    driver = Driver(
        tree=tree,
        scheduler=scheduler,
        spawn_designer=lambda name: spawn_designer(name, tree, ladder.scales, shards.vocab_size),
        spawn_verifier=lambda name: spawn_verifier(name, tree, config.verifiers, settings, data),
        designers=_names("Designer", config.designers.n),
        verifiers=_names("Verifier", config.verifiers.n),
        on_snapshot=on_snapshot,
        should_stop=partial(_stop_request, store.root),
    )
    return await driver.run()


def _check_folder(store: RunStore, resume: bool) -> None:
    if resume and not store.exists:
        raise ConfigError(f"Cannot resume {str(store.root)!r}: there is no run. Start it without --resume.")
    if store.exists and not resume:
        raise ConfigError(f"Cannot start a run in {str(store.root)!r}: there is one. Add --resume to go on with it.")


def _starting_designs(config: RunConfig) -> dict[str, UnitTree]:
    """The seeds, and the user's own, by name."""
    designs = {name: load_design(name) for name in config.seeds}
    for path in config.designs:
        tree = load_design(path)
        if tree.open_slots():
            raise ConfigError(f"Cannot start from design {path!r}: open slots {', '.join(tree.open_slots())}. Fill them.")
        designs.setdefault(Path(path).stem, tree)
    if config.reference and config.reference not in designs:
        designs = {config.reference: load_design(config.reference)} | designs
    return designs


def _run_started(config: RunConfig, run: str, designs: dict[str, UnitTree]) -> RunStarted:
    ladder = config.resolved_ladder()
    return RunStarted(
        run=run,
        scales=ladder.names,
        quotas=ladder.quotas,
        costs=tuple(float(scale.n_tokens) for scale in ladder.scales),
        reference=designs[config.reference].design_id if config.reference else "",
        config=_plain(asdict(config)),
    )


def _submissions(designs: dict[str, UnitTree], objects: RayObjects) -> tuple[Submission, ...]:
    submissions = []
    for name, tree in designs.items():
        program = encode_program(tree)
        proposed = DesignProposed(
            design=tree.design_id,
            name=name,
            program=content_hash(program),
            operator="seed" if name in SEED_NAMES else "given",
            parts=tuple(unit.name for unit in tree.units()),
            is_seed=name in SEED_NAMES,
        )
        submissions.append(Submission(events=(proposed,), program=objects.put(program)))
    return tuple(submissions)


def _strategy_arguments(configured: object, given: object) -> tuple[object, dict[str, object]]:
    if given is not None:
        return given, {}
    long_form = strategy(configured)  # type: ignore[arg-type]
    return long_form.name, dict(long_form.options)


def _names(kind: str, n: int) -> tuple[str, ...]:
    return tuple(f"{kind}-{i + 1}" for i in range(n))


def _stop_request(root: Path) -> str:
    return "asked to stop" if (root / STOP_FILE).exists() else ""


def _plain(value: object) -> object:
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, (tuple, list)) else value
