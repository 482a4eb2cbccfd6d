"""What verifications cost, from the configuration to the books: set aside with the lease, booked when it ends."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from actors.budget_scheduler import BudgetScheduler, SchedulerSettings
from actors.messages import Done, VerifyTask
from actors.verifier import Verifier, VerifierSettings
from cluster.evolve import _look_back, _resumed
from genesys.api import Run
from genesys.config import RunConfig, config_from_mapping
from genesys.errors import INFRASTRUCTURE_CAUSES, ConfigError, JobFailed
from genesys.evolution.events import LeaseGranted, LeaseRefunded, RunResumed, VerificationFailed, VerificationRecorded
from genesys.ladder.budget import Caps
from genesys.sandbox import Policy
from genesys.storage import RunStore
from genesys.testing.null_cage import NullCage, NullScorer
from tests.actors.in_process import World, run_world

TOKENS = RunConfig().resolved_ladder().scales[0].grid_tokens


def budget(**caps: float) -> RunConfig:
    return config_from_mapping({"quotas": [4, 2, 1], "seeds": ["gpt"], "budget": caps})


class FailingCage(NullCage):
    """A training that fails, having written how far it came."""

    def __init__(self, cause: str, n_tokens: int) -> None:
        super().__init__()
        self._cause, self._n_tokens = cause, n_tokens

    async def run(self, entry: str, request: Mapping[str, Any], policy: Policy) -> dict[str, Any]:
        if not entry.endswith(":train"):
            return await super().run(entry, request, policy)
        line = f'{{"n_tokens": {self._n_tokens}, "loss": 9.0, "tokens_per_s": 1.0}}\n'
        (Path(request["out"]) / "progress.jsonl").write_text(line)
        raise JobFailed(self._cause, "Cannot train on")  # type: ignore[arg-type]


def test_a_run_ends_at_its_cap_and_says_so(tmp_path: Path) -> None:
    world = World(tmp_path / "run", budget(tokens=3.5 * TOKENS))
    run_world(world)
    tree = Run(tmp_path / "run").tree
    assert "the cap of" in tree.finished and "tokens leaves no room for a run at" in tree.finished
    assert 3 * TOKENS <= tree.budget.spent.n_tokens <= 3.5 * TOKENS
    assert not tree.leases and tree.budget.reserved == (0, 0, 0)


def test_a_lease_carries_what_it_may_use_and_its_end_what_it_used(tmp_path: Path) -> None:
    async def work() -> None:
        config = RunConfig(quotas=(4, 2, 1), seeds=("gpt",))
        world = World(tmp_path / "run", config)
        await world.start()
        await world.designer.design(await world.tree.next_task("Designer-1"))
        await world.verifier.verify(await world.scheduler.lease("Verifier-1", True))
        events = await world.tree.news(0)
        granted = next(e for e in events if isinstance(e, LeaseGranted))
        recorded = next(e for e in events if isinstance(e, VerificationRecorded))
        assert granted.n_tokens == recorded.n_tokens == TOKENS and recorded.seconds > 0
        assert granted.gpu_seconds == recorded.gpu_seconds == 0.0

    asyncio.run(work())


@pytest.mark.parametrize("cause", ["diverged", "spike", "slow", "killed"])
def test_a_training_that_is_stopped_books_what_it_took(tmp_path: Path, cause: str) -> None:
    """What the guard stops is the design's failure, and counts; a killed job is not, and counts too."""

    async def work() -> None:
        world = World(tmp_path / "run", RunConfig(quotas=(4, 2, 1), seeds=("gpt",)))
        await world.start()
        await world.designer.design(await world.tree.next_task("Designer-1"))
        task = await world.scheduler.lease("Verifier-1", True)
        settings = VerifierSettings(run_folder=tmp_path / "run", cache_folder=tmp_path / "run" / "cache", gpus=0.5)
        verifier = Verifier(
            "Verifier-1", world.tree, settings, world.verifier._target._data, cage=FailingCage(cause, 512),
            objects=world.objects, scorer=NullScorer(),
        )  # fmt: skip
        await verifier.verify(task)
        ended = (await world.tree.news(0))[-1]
        kind = LeaseRefunded if cause in INFRASTRUCTURE_CAUSES else VerificationFailed
        assert isinstance(ended, kind) and ended.cause == cause and ended.n_tokens == 512
        assert ended.seconds > 0 and ended.gpu_seconds == pytest.approx(0.5 * ended.seconds)

    asyncio.run(work())


def test_a_dead_holder_leaves_what_was_set_aside_but_for_time_not_gone_by(tmp_path: Path) -> None:
    now = [1000.0]
    config = config_from_mapping(
        {"quotas": [4, 2, 1], "verifiers": {"gpus_per_verification": 2, "deadline_s": 100}, "budget": {"gpu_hours": 1}}
    )

    async def refunded(wait_s: float, *, restarted: bool) -> LeaseRefunded:
        world = World(tmp_path / f"run-{wait_s}-{restarted}", config)
        await world.start()
        await world.designer.design(await world.tree.next_task("Designer-1"))
        settings = SchedulerSettings(scales=world.plan.ladder.scales, promotion=world.plan.promotion, gpus=2.0)
        scheduler = BudgetScheduler(world.tree, settings, clock=lambda: now[0])
        task = await scheduler.lease("Verifier-1", True)
        assert isinstance(task, VerifyTask)
        now[0] += wait_s
        if restarted:
            scheduler = BudgetScheduler(world.tree, settings, clock=lambda: now[0])
        assert await scheduler.release("Verifier-1", "holder-died", "gone") == 1
        event = (await world.tree.news(0))[-1]
        assert isinstance(event, LeaseRefunded)
        return event

    for wait_s, restarted, gpu_seconds in (
        (30, False, 60.0),
        (500, False, 200.0),
        (30, True, 200.0),
        (-5, False, 200.0),
    ):
        event = asyncio.run(refunded(wait_s, restarted=restarted))
        assert event.gpu_seconds == gpu_seconds and event.n_tokens == TOKENS


def test_a_resumed_run_is_told_its_new_caps(tmp_path: Path) -> None:
    world = World(tmp_path / "run", budget(runs=2))
    run_world(world)
    run = Run(tmp_path / "run")
    assert "cap of 2 runs" in run.tree.finished
    raised = World(tmp_path / "again", budget(runs=5)).plan.started
    before = _look_back(RunStore(tmp_path / "run"), raised)
    assert before.caps.runs == 2 and before.granted_at == {}
    reason = _resumed(before.caps, Caps(runs=5))
    assert reason == "resumed with other caps: runs 2 -> 5" and _resumed(before.caps, before.caps) == "resumed"

    async def go_on() -> None:
        await world.tree.append(RunResumed(reason=reason, caps=Caps(runs=5).to_json()))
        await world.run()

    asyncio.run(go_on())
    run = Run(tmp_path / "run")
    assert run.tree.budget.spent.runs == 5 and "cap of 5 runs" in run.tree.finished
    with pytest.raises(ConfigError, match=r"under a budget with another verifiers.deadline_s"):
        other = config_from_mapping(
            {"quotas": [4, 2, 1], "seeds": ["gpt"], "budget": {"runs": 9}, "verifiers": {"gpus_per_verification": 1}}
        )
        _look_back(RunStore(tmp_path / "run"), World(tmp_path / "third", other).plan.started)


def test_a_scheduler_that_is_told_of_a_cap_answers_done(tmp_path: Path) -> None:
    async def work() -> None:
        world = World(tmp_path / "run", budget(runs=1))
        await world.start()
        await world.designer.design(await world.tree.next_task("Designer-1"))
        await world.verifier.verify(await world.scheduler.lease("Verifier-1", True))
        end = await world.scheduler.lease("Verifier-1", True)
        assert isinstance(end, Done) and "cap of 1 run leaves" in end.reason

    asyncio.run(work())


def test_the_reference_stops_a_hopeless_training_only_where_that_is_wanted(tmp_path: Path) -> None:
    class CurvedCage(NullCage):
        async def run(self, entry: str, request: Mapping[str, Any], policy: Policy) -> dict[str, Any]:
            answer = await super().run(entry, request, policy)
            return answer | {"curve": [[512, 5.0], [1024, 3.0]]} if entry.endswith(":train") else answer

    world = World(tmp_path / "run", RunConfig(quotas=(4, 2, 1), seeds=("gpt", "retnet")), cage=CurvedCage())
    run_world(world)
    run, verifier = Run(tmp_path / "run"), world.verifier._target
    reference = run.tree.reference
    task = VerifyTask(
        lease=99, design="x", name="x", scale=world.plan.ladder.scales[0], shape={}, seed=0, recipe="", program=b"",
        reference=reference,
    )  # fmt: skip
    assert verifier._reference_curve(task)
    off = VerifierSettings(run_folder=world.folder, cache_folder=world.folder / "cache", stop_hopeless=False)
    assert Verifier("v", world.tree, off, verifier._data, cage=NullCage())._reference_curve(task) == ()


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"budget": {"gpu_hours": 2}}, "gpus_per_verification is 0"),
        ({"budget": {"usd": 2}}, "without a price"),
        ({"budget": {"runs": -1}}, "budget.runs = -1"),
        ({"budget": {"tokens": float("nan")}}, "budget.tokens = nan"),
        ({"budget": {"tokens": 10}}, "leaves no room for a single run at cpu-1"),
        ({"budget": {"gpus": 10}}, "budget.gpus"),
    ],
)
def test_a_budget_that_cannot_be_is_refused_at_the_door(data: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        config_from_mapping(data)
