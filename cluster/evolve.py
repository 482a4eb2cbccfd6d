"""Run an evolution from its configuration to its end, on whatever Ray there is."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import yaml

from actors.budget_scheduler import SchedulerSettings
from actors.evolution_tree import TreeSettings
from actors.handles import RayObjects, TreasurerHandle
from actors.messages import Submission
from actors.session_desk import SessionSettings
from actors.sessions import SessionTools
from actors.treasurer import TreasurerSettings
from actors.verifier import VerifierSettings, pack_shards
from cluster.driver import Driver, Snapshot
from cluster.planning import Plan, make_plan, plain
from cluster.session import Session, ray_session, require_cards, require_shared_folder
from cluster.spawn import (
    cache_folder,
    end_services,
    spawn_designer,
    spawn_scheduler,
    spawn_treasurer,
    spawn_tree,
    spawn_verifier,
)
from genesys.agents.alone import check_reach
from genesys.agents.briefing import bounds
from genesys.config import DesignersConfig, RunConfig
from genesys.config.agents import ROLES, models_of, uses_models
from genesys.errors import ConfigError
from genesys.evolution.events import (
    LeaseGranted,
    LeaseRefunded,
    RunResumed,
    RunStarted,
    VerificationFailed,
    VerificationRecorded,
)
from genesys.evolution.operators import Focus
from genesys.evolution.operators.mutation import EDITS
from genesys.evolution.promotion import PromotionStrategy
from genesys.evolution.selection import SelectionStrategy
from genesys.evolution.status import CapStatus, RunStatus
from genesys.ladder.budget import Caps
from genesys.llm.calls import CALLS_FILE, NANO_PER_USD
from genesys.llm.prices import PriceList
from genesys.sandbox import open_cage
from genesys.sandbox.cgroups import sweep
from genesys.storage import RunStore, content_hash
from genesys.train.data.shards import Shards, prepare_shards

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
        ConfigError: The configuration cannot be run here, or not in the cage that it demands, or its language models are out of
            reach; nothing was started.
        TransientError: The cluster could not keep the run alive; the run can be resumed.
    """
    store = RunStore(run_folder)
    _check_folder(store, resume)
    store.require_place(config.storage.journal)
    make_plan(config, store, selection, promotion)  # mistakes come out before the corpus is prepared
    if uses_models(config.designers.kinds):
        asyncio.run(check_reach(config.agents))
    asyncio.run(open_cage(config.sandbox.require))
    shards = prepare_shards(config.corpus, cache_folder(), tokenizer=config.tokenizer)
    plan = make_plan(config, store, selection, promotion, data_hash=shards.hash)
    before = _look_back(store, plan.started) if resume else None
    store.root.mkdir(parents=True, exist_ok=True)
    store.take_place(config.storage.journal)
    store.config_path.write_text(yaml.safe_dump(plain(asdict(config)), sort_keys=False), encoding="utf-8")
    (store.root / STOP_FILE).unlink(missing_ok=True)
    n_cpus = config.verifiers.n * config.verifiers.threads + config.designers.n + SERVICE_CPUS
    try:
        with ray_session(namespace=_namespace(store.root), n_cpus=n_cpus, dashboard=dashboard) as session:
            require_shared_folder(config.storage.url, session)
            require_cards(config.verifiers, session)
            on_session(session)
            return asyncio.run(_drive(plan, shards, on_snapshot, before))
    finally:
        with contextlib.suppress(OSError):  # no control groups here
            sweep()  # Ray ends actors with all below them: their cages had no time to remove their groups


async def _drive(
    plan: Plan, shards: Shards, on_snapshot: Callable[[Snapshot], None], before: _Before | None
) -> RunStatus:
    config, ladder, objects = plan.config, plan.ladder, RayObjects()
    tree = spawn_tree(
        TreeSettings(
            run_folder=plan.store.root,
            selection=plan.selection,
            seed=config.seed,
            ahead=config.designers.resolved_ahead,
            max_failed_proposals=config.designers.max_failed,
            adaptive=config.designers.adaptive,
            focus=focus_of(config.designers),
            fitness=config.fitness,
            sessions=session_settings(config, plan.store.root, shards.vocab_size),
        )
    )
    await tree.start(
        plan.started,
        tuple(Submission(events=(e,), program=objects.put(p)) for e, p in zip(plan.seeds, plan.programs, strict=True)),
    )
    scheduler = spawn_scheduler(
        tree,
        SchedulerSettings(
            scales=ladder.scales,
            promotion=plan.promotion,
            seed=config.seed,
            fitness=config.fitness,
            gpus=config.verifiers.gpus_per_verification,
            granted_at=before.granted_at if before else {},
        ),
    )
    if before is not None:
        await scheduler.release("", "stopped", "the driver that held them ended")
        caps = config.budget.caps()
        await tree.append(RunResumed(reason=_resumed(before.caps, caps), caps=caps.to_json()))
    settings = VerifierSettings(
        run_folder=plan.store.root,
        cache_folder=cache_folder(),
        threads=config.verifiers.threads,
        deadline_s=config.verifiers.deadline_s,
        probes=config.verifiers.probes,
        memory_mb=config.verifiers.memory_mb,
        tasks_data=config.tasks.data and str(Path(config.tasks.data).expanduser().absolute()),
        n_processes=max(1, int(config.verifiers.gpus_per_verification)),
        gpu_share=min(1.0, config.verifiers.gpus_per_verification or 1.0),
        stop_when_slow=config.verifiers.gpus_per_verification >= 1,
        stop_hopeless=config.verifiers.stop_hopeless,
        gpus=config.verifiers.gpus_per_verification,
        sandbox=config.sandbox.require,
    )
    treasurer = _treasurer(config, plan.store) if uses_models(config.designers.kinds) else None
    tools = (
        SessionTools(agents=config.agents, prices=await treasurer.prices(), treasury=treasurer) if treasurer else None
    )
    data = pack_shards(shards.path, shards.hash, objects)
    driver = Driver(
        tree=tree,
        scheduler=scheduler,
        spawn_designer=lambda name: spawn_designer(
            name,
            tree,
            ladder.scales,
            shards.vocab_size,
            verdicts=plan.store.artifacts / "verdicts",
            sandbox=config.sandbox.require,
            tools=tools,
        ),
        spawn_verifier=lambda name: spawn_verifier(name, tree, config.verifiers, settings, data),
        designers=_names("Designer", config.designers.n),
        verifiers=_names("Verifier", config.verifiers.n),
        slots=config.designers.slots,
        on_snapshot=on_snapshot,
        should_stop=partial(_stop_request, plan.store.root),
        money=partial(_money, treasurer, config) if treasurer else None,
    )
    try:
        return await driver.run()
    finally:
        end_services(tree, scheduler, *([treasurer] if treasurer else []))


def focus_of(designers: DesignersConfig) -> Focus:
    """What rules may put in and which edits they draw, where the configuration says so."""
    edits = {edit.__name__: designers.edits.get(edit.__name__, 0.0) for edit, _ in EDITS} if designers.edits else {}
    return Focus(edits=edits, units=designers.units)


def session_settings(config: RunConfig, root: Path, vocab_size: int) -> SessionSettings:
    """What the tree is told of language models."""
    designers, agents = config.designers, config.agents
    if not uses_models(designers.kinds):
        return SessionSettings()
    return SessionSettings(
        kinds=designers.kinds,
        refine=designers.refine,
        limits=asdict(agents.limits),
        bounds=bounds(config.resolved_ladder().scales, vocab_size),
        models={role: {m.name: m.weight for m in models_of(agents, role)} for role in ROLES if role != "default"},
        adaptive=agents.adaptive,
        lessons_every=agents.lessons_every,
        planted=agents.planted,
        ablations=root.parent / "ablations",
    )


async def _money(treasurer: TreasurerHandle, config: RunConfig) -> CapStatus:
    """What language models cost by now, calls on their way at their maximum."""
    spent = (await treasurer.totals()).run
    unsure_usd = spent.unsure_nano / NANO_PER_USD
    return CapStatus(
        what="USD for language models", spent=spent.usd - unsure_usd, reserved=unsure_usd, cap=config.agents.caps.run
    )


def _treasurer(config: RunConfig, store: RunStore) -> TreasurerHandle:
    """Start the keeper of the money, at the prices that the run began with."""
    agents = config.agents
    return spawn_treasurer(
        TreasurerSettings(path=store.root / CALLS_FILE, agents=agents, prices=PriceList.of(agents).to_json())
    )


def _check_folder(store: RunStore, resume: bool) -> None:
    if resume and not store.exists:
        raise ConfigError(f"Cannot resume {str(store.root)!r}: there is no run. Start it without --resume.")
    if store.exists and not resume:
        raise ConfigError(f"Cannot start a run in {str(store.root)!r}: there is one. Add --resume to go on with it.")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Before:
    """What a resumed run's journal says: the caps that held last, and when each lease still out was granted."""

    caps: Caps
    granted_at: Mapping[int, float]


def _look_back(store: RunStore, started: RunStarted) -> _Before:
    """Read a run that is to go on.

    Raises:
        ConfigError: It ran under a ladder, corpus or reference other than `started`.
    """
    caps, granted_at = Caps(), dict[int, float]()
    with closing(store.journal(mode="reader")) as journal:
        for _, time, event in journal.read():
            match event:
                case RunStarted():
                    _check_same_run(store, event, started)
                    caps = Caps.from_json(event.config.get("caps", {}))
                case RunResumed(caps=raised) if raised:
                    caps = Caps.from_json(raised)
                case LeaseGranted():
                    granted_at[event.lease] = time
                case LeaseRefunded() | VerificationRecorded() | VerificationFailed():
                    granted_at.pop(event.lease, None)
    return _Before(caps=caps, granted_at=granted_at)


def _resumed(before: Caps, now: Caps) -> str:
    """Why a run's caps differ from now on, for the journal."""
    old, new = before.to_json(), now.to_json()
    said = [f"{n} {old.get(n, 'none')} -> {new.get(n, 'none')}" for n in {**old, **new} if old.get(n) != new.get(n)]
    return f"resumed with other caps: {', '.join(said)}" if said else "resumed"


def _check_same_run(store: RunStore, first: RunStarted, started: RunStarted) -> None:
    """Refuse to go on with a run under another ladder, corpus or reference: its results could not be compared."""
    now = json.loads(json.dumps(started.config))
    before = {"tokenizer": "bytes", "training_seeds": {}} | json.loads(json.dumps(first.config))
    for key in (
        "scales",
        "quotas",
        "training_seeds",
        "corpus",
        "tokenizer",
        "data_hash",
        "reference",
        "seed",
        "fitness",
    ):
        if before.get(key) != now[key]:
            raise ConfigError(
                f"Cannot resume {store.root.name!r} with {key} = {now[key]!r}: it was started with {before.get(key)!r}. "
                f"Restore it, or start a new run without --resume."
            )
    if before["verifiers"]["probes"] != now["verifiers"]["probes"]:
        raise ConfigError(
            f"Cannot resume {store.root.name!r} with another verifiers.probes: its results would not compare."
        )
    if set(now["caps"]) > {"usd_per_gpu_hour"} and before.get("run_costs") != now["run_costs"]:
        raise ConfigError(
            f"Cannot resume {store.root.name!r} under a budget with another verifiers.deadline_s or gpus_per_verification: "
            f"what one run may cost was settled when it started. Restore them, or drop the budget."
        )


def _namespace(root: Path) -> str:
    """A Ray namespace of the run's own: two users of a cluster may both have a quickstart-1."""
    return f"{root.name}-{content_hash(str(root).encode())[:8]}"


def _names(kind: str, n: int) -> tuple[str, ...]:
    return tuple(f"{kind}-{i + 1}" for i in range(n))


def _stop_request(root: Path) -> str:
    return "asked to stop" if (root / STOP_FILE).exists() else ""
