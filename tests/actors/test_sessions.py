"""Sessions of language models in the pool: from the tree's task to the books, through the real classes, without Ray."""

from __future__ import annotations

import asyncio
import json
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from actors.messages import DesignSession, Done, ProposeTask, Wait
from cluster.evolve import evolve
from genesys.config import RunConfig, config_from_mapping
from genesys.errors import ConfigError
from genesys.evolution import EvolutionTree
from genesys.evolution.events import DesignProposed, LessonsWritten, ProposalFailed, SessionStarted
from genesys.evolution.fitness import RelativeFitness
from genesys.evolution.sessions import decode_task
from genesys.llm.calls import NANO_PER_USD, StaleError
from genesys.storage import RunStore, open_tree
from genesys.testing.treasury import USAGE, call, granted
from tests.actors.in_process import World, run_world
from tests.actors.scripted_client import ScriptedClient

MODEL = {"name": "openai/scripted", "input_usd": 1.0, "output_usd": 4.0, "context_tokens": 200_000}


def config(kinds: dict[str, float], *, quotas: tuple[int, ...] = (9, 2, 1), **agents: Any) -> RunConfig:
    limits = {"beam": 1, "samples": 1} | agents.pop("limits", {})
    return config_from_mapping(
        {
            "quotas": quotas,
            "seeds": ["gpt"],
            "designers": {"kinds": kinds, "refine": 2},
            "agents": {"models": {"default": [MODEL]}, "caps": {"run": 50}, "limits": limits} | agents,
        }
    )


def books(world: World) -> EvolutionTree:
    with closing(RunStore(world.folder).journal(mode="reader")) as journal:
        return open_tree(journal, RelativeFitness())


def events(world: World, kind: type) -> list[Any]:
    with closing(RunStore(world.folder).journal(mode="reader")) as journal:
        return [entry.event for entry in journal.read() if isinstance(entry.event, kind)]


def test_sessions_fill_the_quota_and_tell_what_they_cost(tmp_path: Path) -> None:
    world = World(tmp_path / "run", config({"llm": 1}), client=ScriptedClient())
    run_world(world)
    tree = books(world)
    assert not tree.open_sessions
    assert len(events(world, SessionStarted)) == len(tree.authored) + len(tree.failed_sessions)
    made = [tree.record(design) for design in tree.authored]
    assert made and all(r.cost_usd > 0 and r.title and r.models["coder"] == MODEL["name"] for r in made)
    assert {r.operator for r in made} >= {"mutation"}
    with closing(RunStore(world.folder).journal(mode="reader")) as journal:
        account = json.loads(journal.blob(made[0].account))
        task = decode_task(journal.blob(events(world, SessionStarted)[0].task))
    assert account["log"] and account["attempts"]
    assert task.evidence.parents[0].design == task.parents[0]


def test_a_session_that_its_designer_left_is_taken_up_without_paying_twice(tmp_path: Path) -> None:
    async def work() -> None:
        client = ScriptedClient(seconds=0.001)
        world = World(tmp_path / "run", config({"llm": 1}), client=client)
        await world.start()
        await world.designer.design(await world.tree.next_task("Designer-1.1"))  # the seed's check
        first = await world.tree.next_task("Designer-1.1")
        assert isinstance(first, DesignSession)
        begun = asyncio.create_task(world.designer.design(first))
        while len(client.asked) < 2:
            await asyncio.sleep(0.001)
        other = await world.tree.next_task("Designer-1.2")
        assert isinstance(other, DesignSession) and other.session != first.session, "what somebody has is not given out"
        begun.cancel()
        await asyncio.wait([begun])
        await world.tree.release("Designer-1")
        for slot in ("Designer-2.1", "Designer-2.2"):
            again = await world.tree.next_task(slot)
            assert isinstance(again, DesignSession) and again.designer == slot
            mine = first if again.session == first.session else other
            assert await world.objects.get(again.task) == await world.objects.get(mine.task)
            await world.designer.design(again)
        tree = books(world)
        assert not tree.open_sessions
        assert world.tools is not None
        totals = await world.tools.treasury.totals()  # type: ignore[attr-defined]
        assert totals.run.n_calls - totals.run.n_answered <= 1, "only the call in flight was paid for and lost"

    asyncio.run(work())


def test_open_sessions_are_handed_out_again_after_the_tree_died(tmp_path: Path) -> None:
    async def work() -> None:
        world = World(tmp_path / "run", config({"llm": 1}), client=ScriptedClient())
        await world.start()
        await world.designer.design(await world.tree.next_task("Designer-1.1"))
        first = await world.tree.next_task("Designer-1.1")
        assert isinstance(first, DesignSession)
        again = World(tmp_path / "run", world.config, client=ScriptedClient())
        taken = await again.tree.next_task("Designer-1.2")
        assert isinstance(taken, DesignSession) and taken.session == first.session
        await again.designer.design(taken)
        assert first.session not in books(again).open_sessions

    asyncio.run(work())


def test_whoever_comes_late_claims_nothing_for_a_session_that_has_ended(tmp_path: Path) -> None:
    """Nobody would free it: the run would wait for that design for ever."""

    async def work() -> None:
        world = World(tmp_path / "run", config({"llm": 1}), client=ScriptedClient())
        await world.start()
        await world.designer.design(await world.tree.next_task("Designer-1.1"))
        task = await world.tree.next_task("Designer-1.1")
        assert isinstance(task, DesignSession)
        assert await world.tree.claim("a" * 64, "form", task.session) == ""
        await world.designer.design(task)
        with pytest.raises(StaleError, match="another designer ended it meanwhile"):
            await world.tree.claim("b" * 64, "another form", task.session)

    asyncio.run(work())


def test_after_the_money_is_spent_rules_go_on_and_sessions_do_not(tmp_path: Path) -> None:
    world = World(tmp_path / "run", config({"llm": 1, "rules": 1}, caps={"run": 0.05}), client=ScriptedClient())
    run_world(world)
    tree = books(world)
    assert "cap" in tree.out_of_money
    assert [event.cause for event in tree.failed_sessions].count("money") == 1
    made = [record for record in tree if not record.is_seed]
    assert len([record for record in made if not record.session]) >= 4


def test_where_only_models_design_the_end_of_the_money_is_the_end(tmp_path: Path) -> None:
    async def work() -> None:
        world = World(tmp_path / "run", config({"llm": 1}, caps={"run": 0.0}), client=ScriptedClient())
        await world.start()
        for _ in range(2):
            await world.designer.design(await world.tree.next_task("Designer-1"))
        done = await world.tree.next_task("Designer-1")
        assert isinstance(done, Done) and "money is spent" in done.reason

    asyncio.run(work())


def test_a_session_s_own_cap_ends_that_session_alone(tmp_path: Path) -> None:
    async def work() -> None:
        world = World(tmp_path / "run", config({"llm": 1}, caps={"run": 50, "session": 0.0}), client=ScriptedClient())
        await world.start()
        for _ in range(2):
            await world.designer.design(await world.tree.next_task("Designer-1"))
        assert isinstance(await world.tree.next_task("Designer-1"), DesignSession)
        assert [event.cause for event in books(world).failed_sessions] == ["session-cap"]

    asyncio.run(work())


def test_hybrid_varies_each_design_of_a_model_by_rules(tmp_path: Path) -> None:
    world = World(tmp_path / "run", config({"hybrid": 1}, quotas=(10, 2, 1)), client=ScriptedClient())
    run_world(world)
    tree = books(world)
    by_rules = [record for record in tree if not record.is_seed and not record.session]
    assert len(tree.authored) >= 2 and by_rules
    assert all(tree.record(record.parents[0]).session for record in by_rules)
    first = tree.authored[0]
    assert sum(not tree.record(child).session for child in tree.children(first)) == 2


def test_lessons_are_written_now_and_then_and_told(tmp_path: Path) -> None:
    world = World(tmp_path / "run", config({"llm": 1}, lessons_every=3), client=ScriptedClient())
    run_world(world)
    tree = books(world)
    assert tree.lessons and events(world, LessonsWritten)[0].cost_usd > 0
    with closing(RunStore(world.folder).journal(mode="reader")) as journal:
        later = decode_task(journal.blob(events(world, SessionStarted)[-1].task))
    assert later.evidence.lessons in [lessons.text for lessons in tree.lessons]


def test_a_duplicate_that_another_designer_submitted_first_ends_as_one(tmp_path: Path) -> None:
    """The claim of a session that was left is free again until it is taken up."""

    async def work() -> None:
        world = World(tmp_path / "run", config({"llm": 1}), client=ScriptedClient())
        await world.start()
        await world.designer.design(await world.tree.next_task("Designer-1.1"))
        task = await world.tree.next_task("Designer-1.1")
        assert isinstance(task, DesignSession)
        await world.designer.design(task)
        (made,) = [event for event in await world.tree.news(0) if isinstance(event, DesignProposed) and event.session]
        await world.designer.design(task)  # a late second conduct of the same session: the books have its end
        assert len(books(world).authored) == 1 and made.session not in books(world).open_sessions
        assert not books(world).failed_sessions

    asyncio.run(work())


def test_rules_alone_write_no_session(tmp_path: Path) -> None:
    async def work() -> None:
        world = World(tmp_path / "run", RunConfig(quotas=(4, 1, 0), seeds=("gpt",)))
        await world.start()
        await world.designer.design(await world.tree.next_task("Designer-1"))
        assert isinstance(await world.tree.next_task("Designer-1"), ProposeTask | Wait)
        assert not events(world, SessionStarted) and not events(world, ProposalFailed)

    asyncio.run(work())


def test_a_session_of_which_designers_keep_dying_is_given_up(tmp_path: Path) -> None:
    async def work() -> None:
        world = World(tmp_path / "run", config({"llm": 1}), client=ScriptedClient(), max_failed=1)
        await world.start()
        await world.designer.design(await world.tree.next_task("Designer-1.1"))
        assert world.tools is not None
        treasury = world.tools.treasury
        await treasury.commit(await granted(treasury, call(session="session-1")), {}, USAGE, 5000)
        for _ in range(3):
            task = await world.tree.next_task("Designer-1.1")
            assert isinstance(task, DesignSession) and (task.session, task.poison) == ("session-1", "")
            await world.tree.release("Designer-1")
        task = await world.tree.next_task("Designer-1.1")
        assert isinstance(task, DesignSession) and "designers died 3 times" in task.poison
        await world.designer.design(task)
        (failure,) = books(world).failed_sessions
        assert (failure.session, failure.cause) == ("session-1", "poison")
        assert failure.cost_usd == 5000 / NANO_PER_USD, "what its designers paid before they died"
        done = await world.tree.next_task("Designer-1.1")
        assert isinstance(done, Done) and "1 proposals in a row" in done.reason, "it counts, as it does after a restart"

    asyncio.run(work())


def test_a_session_that_kills_designers_does_not_have_its_neighbours_given_up(tmp_path: Path) -> None:
    async def work() -> None:
        world = World(tmp_path / "run", config({"llm": 1}), client=ScriptedClient())
        await world.start()
        await world.designer.design(await world.tree.next_task("Designer-1.1"))
        given = []
        for _ in range(4):
            tasks = [await world.tree.next_task(slot) for slot in ("Designer-1.1", "Designer-1.2")]
            given.append([task.session for task in tasks if isinstance(task, DesignSession)])
            for task in tasks:
                if isinstance(task, DesignSession) and task.poison:
                    await world.designer.design(task)
            await world.tree.release("Designer-1")
        assert given[0] == given[1] == given[3] == ["session-1", "session-2"] and given[2] == ["session-1", "session-3"]
        assert [event.session for event in books(world).failed_sessions] == ["session-1"]

    asyncio.run(work())


def test_a_task_of_another_version_ends_as_stale_and_a_mistake_of_ours_ends_one_session(tmp_path: Path) -> None:
    async def work() -> None:
        def wrong(form: str, fields: dict[str, Any]) -> None:
            if len(client.asked) > 1:
                raise AssertionError("a mistake")

        client = ScriptedClient(change=wrong)
        world = World(tmp_path / "run", config({"llm": 1}), client=client)
        await world.start()
        await world.designer.design(await world.tree.next_task("Designer-1"))
        task = await world.tree.next_task("Designer-1")
        assert isinstance(task, DesignSession)
        old = json.loads(await world.objects.get(task.task)) | {"limits": {"width": 3}}
        await world.designer.design(replace(task, task=world.objects.put(json.dumps(old).encode())))
        await world.designer.design(await world.tree.next_task("Designer-1"))
        ends = books(world).failed_sessions
        assert [event.cause for event in ends] == ["stale", "bug"]
        assert "width" in ends[0].reason and "a mistake" in ends[1].reason
        assert ends[1].cost_usd > 0, "what it cost until then counts"

    asyncio.run(work())


def test_a_run_whose_models_are_out_of_reach_does_not_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It would end after many failed sessions, with its corpus prepared for nothing."""
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)

    def refused(model: dict[str, Any], **agents: Any) -> str:
        settings = {"designers": {"kinds": {"llm": 1}}, "agents": {"models": {"default": [model]}, **agents}}
        with pytest.raises(ConfigError) as error:
            evolve(config_from_mapping(settings), tmp_path / "run")
        assert not (tmp_path / "run").exists()
        return str(error.value)

    assert "no cap is set" in refused({"name": "openai/gpt-5.1"})
    assert "Cannot price 'openai/nobody-s'" in refused({"name": "openai/nobody-s"})
    assert "no key is set" in refused({"name": "openai/gpt-5.1"}, caps={"run": 1})
