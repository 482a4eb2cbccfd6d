"""What is no news: the same program again is not checked, one that computes the same is not trained."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path
from random import Random
from typing import Any

import pytest

import actors.designer
from actors.designer import Designer
from actors.messages import CheckTask, Done, ProposeTask, Submission
from genesys.agents.programs import encode_program
from genesys.api import Run
from genesys.checker import VerdictCache, sketch_distance
from genesys.config import RunConfig
from genesys.evolution import DesignState
from genesys.evolution.events import DesignProposed, DesignTwinned, ProposalFailed
from genesys.evolution.operators import Proposal
from genesys.gau import UnitTree, parse_unit
from genesys.gau.library import SEED_NAMES, seed_design, unit_named
from genesys.gau.normal_form import normal_form
from genesys.ladder import Scale
from genesys.testing.null_cage import NullCage
from tests.actors.in_process import World, run_world
from tests.actors.kindred import KindredCage, sketch
from tests.actors.test_verdicts import CountingCage

SMALL = tuple(
    Scale(name=f"tiny-{k}", d_model=d, n_blocks=k, context=32, batch_tokens=64, n_tokens=64, peak_lr=1e-3,
          width_step=8, size_tolerance=0.1, embedding_std=0.1) for k, d in ((1, 32), (2, 48))
)  # fmt: skip
CONFIG = RunConfig(quotas=(12, 4, 2), seeds=("gpt",))


def renamed(tree: UnitTree, suffix: str) -> UnitTree:
    """The same program under other names."""
    unit = tree.at("channel").unit
    return tree.replace("channel", parse_unit(re.sub(rf"\b{unit.name}\b", f"{unit.name}{suffix}", unit.source)))


def test_twins_inherit_and_use_nothing(tmp_path: Path) -> None:
    run_world(World(tmp_path / "run", CONFIG, cage=KindredCage()))
    tree = Run(tmp_path / "run").tree
    twins = [record for record in tree if record.state is DesignState.TWIN]
    assert len(twins) >= 3 and tree.finished == "every quota is spent"
    assert tree.ledger.account("cpu-1").committed == 12
    first_of: dict[str, str] = {}
    for record in tree:
        original = first_of.setdefault(record.fingerprint, record.id)
        assert (record.inherited_from or record.id) == original
        assert not (record.inherited_from and (record.runs or tree.children(record.id) or record.sizes == {}))
    assert not {record.id for record in twins} & set(tree.ratings.by_value)


def test_two_designers_with_the_same_news_make_one_design_and_its_twin(tmp_path: Path) -> None:
    """The keeper of the books decides who is first, not who looked first."""

    async def work() -> None:
        world = World(tmp_path / "run", CONFIG, cage=KindredCage())
        await world.start()
        await world.designer.design(await world.tree.next_task("Designer-1"))
        tasks = [await world.tree.next_task(f"Designer-{i}") for i in (1, 2)]
        assert all(isinstance(task, ProposeTask) for task in tasks)
        wide = seed_design("gpt").set("channel", "expansion", 3.0)
        for tree in (seed_design("retnet"), seed_design("retnet").set("channel", "expansion", 3.0), wide):
            await submit(world, tree)
        states = (await world.tree.status()).states
        assert (states["implemented"], states["twin"]) == (2, 2)

    asyncio.run(work())


async def submit(world: World, tree: UnitTree) -> None:
    """A designer's submission of a design that it checked."""
    outcome = await world.designer._target._checked(tree)
    program = encode_program(tree)
    proposed = DesignProposed(
        design=tree.design_id,
        name=tree.design_id[:4],
        program=actors.designer.content_hash(program),
        operator="scratch",
    )
    await world.tree.submit(Submission(events=(proposed, outcome), program=world.objects.put(program)))


def test_the_same_program_in_other_words_is_never_checked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def work() -> None:
        cage = KindredCage()
        world = World(tmp_path / "run", CONFIG, cage=cage)
        await world.start()
        await world.designer.design(await world.tree.next_task("Designer-1"))
        copies = iter(range(1000))

        def copied(*_: Any) -> Proposal:
            return Proposal(tree=renamed(seed_design("gpt"), f"No{next(copies)}"), operator="mutation", detail="a copy")

        monkeypatch.setattr(actors.designer, "propose", copied)
        await world.designer.design(await world.tree.next_task("Designer-1"))
        (failed,) = [event for event in await world.tree.news(0) if isinstance(event, ProposalFailed)]
        assert failed.duplicate_of == seed_design("gpt").design_id and cage.n_checks == 1

    asyncio.run(work())


def test_a_claim_is_for_a_program_and_ends_with_its_holder(tmp_path: Path) -> None:
    async def work() -> None:
        world = World(tmp_path / "run", CONFIG)
        await world.start()
        tree = seed_design("retnet")
        other, form = renamed(tree, "Again"), normal_form(tree)
        assert await world.tree.claim(tree.design_id, form, "a") == ""
        assert await world.tree.claim(tree.design_id, form, "a") == "", "its answer was lost, and it asks again"
        assert await world.tree.claim(other.design_id, form, "b") == tree.design_id
        await world.tree.release("a")
        assert await world.tree.claim(other.design_id, form, "b") == ""
        seed = seed_design("gpt")
        assert await world.tree.claim(renamed(seed, "X").design_id, normal_form(seed), "b") == seed.design_id

    asyncio.run(work())


def test_seeds_are_measured_even_if_they_equal_each_other(tmp_path: Path) -> None:
    class Blind(NullCage):
        async def run(self, entry: str, request: Any, policy: Any) -> dict[str, Any]:
            answer = await super().run(entry, request, policy)
            return (
                answer | {"behaviour": {"fingerprint": "0" * 64, "sketch": []}} if entry.endswith(":check") else answer
            )

    world = World(tmp_path / "run", RunConfig(quotas=(8, 2, 1)), cage=Blind(), max_failed=5)
    run_world(world)
    tree = Run(tmp_path / "run").tree
    assert {record.name for record in tree if record.runs} == set(SEED_NAMES)
    assert len([r for r in tree if r.state is DesignState.TWIN]) == 5, "each of them a failed attempt"
    assert all(tree.record(r.inherited_from).is_seed for r in tree if r.inherited_from)


def test_proposals_are_journaled_with_what_was_done_and_how_far_it_went(tmp_path: Path) -> None:
    run_world(World(tmp_path / "run", CONFIG))
    made = [record for record in Run(tmp_path / "run").tree if not record.is_seed]
    assert len(made) == 11
    for record in made:
        assert sum(record.odds.values()) == pytest.approx(1.0) and record.odds[record.operator] > 0
        assert record.edit and record.steps["seed"] > 0 and len(record.normal_form) == 64
        if record.parents:
            assert record.target in ("", *[path for path, _ in seed_design("gpt").walk()]) or "." in record.target
            assert record.steps["tree"] > 0 and 0 < record.steps["ast"] <= 1


def test_twinned_events_keep_the_checks_figures(tmp_path: Path) -> None:
    async def work() -> None:
        world = World(tmp_path / "run", CONFIG, cage=KindredCage())
        await world.start()
        for _ in range(40):
            task = await world.tree.next_task("Designer-1")
            if isinstance(task, (ProposeTask, CheckTask)):
                await world.designer.design(task)
            if isinstance(task, Done):
                break
        twins = [event for event in await world.tree.news(0) if isinstance(event, DesignTwinned)]
        assert twins and all(len(event.fingerprint) == 64 and event.checker and event.sizes for event in twins)

    asyncio.run(work())


def test_the_step_in_behaviour_is_measured_from_the_parents_verdict(tmp_path: Path) -> None:
    async def work() -> None:
        world = World(tmp_path / "run", CONFIG)
        await world.start()
        designer = Designer(
            "Designer-1", world.tree, world.plan.ladder.scales, 257, cage=KindredCage(), objects=world.objects,
            verdicts=VerdictCache(tmp_path / "verdicts"),
        )  # fmt: skip
        for _ in range(4):
            task = await world.tree.next_task("Designer-1")
            if isinstance(task, (ProposeTask, CheckTask)):
                await designer.design(task)
        tree = Run(tmp_path / "run").tree
        children = [record for record in tree if record.parents]
        assert children and "behaviour" not in tree.record(seed_design("gpt").design_id).steps
        for record in children:
            own, *theirs = (sketch(Run(tmp_path / "run").design(name).tree) for name in (record.id, *record.parents))
            assert record.steps["behaviour"] == min(sketch_distance(own, other) or 0.0 for other in theirs)

    asyncio.run(work())


def test_sketches_of_unrelated_outputs_are_about_one_apart() -> None:
    rng = Random(0)
    a, b = ([rng.gauss(0, 1) for _ in range(200)] for _ in range(2))
    far = sketch_distance(a, b)
    assert far is not None and 0.85 < far < 1.15
    assert sketch_distance(a, a) == 0 and sketch_distance(a, b) == sketch_distance(b, a)
    assert sketch_distance(a, []) is None and sketch_distance([], []) is None


def test_a_mutation_that_does_nothing_is_a_twin_by_the_real_check(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The check runs in this process; nothing is made up but who proposes what."""
    text = unit_named("Residual").source.partition("\n\n\ndef test")[0].replace("return X + Y", "return Y + 0 * X")
    wrapped = seed_design("gpt").wrap("mixer", parse_unit(text))
    other = seed_design("gpt").set("norm_mixer", "eps", 1e-5)
    proposals = iter([wrapped, other])

    async def work() -> None:
        world = World(tmp_path / "run", RunConfig(quotas=(4, 1), ladder=SMALL, seeds=("gpt",)))
        await world.start()
        designer = Designer("Designer-1", world.tree, SMALL, 257, cage=CountingCage(), objects=world.objects)
        await designer.design(await world.tree.next_task("Designer-1"))
        monkeypatch.setattr(
            actors.designer, "propose", lambda *_: Proposal(tree=next(proposals), operator="mutation", detail="made up")
        )
        for _ in range(2):
            await designer.design(await world.tree.next_task("Designer-1"))

    asyncio.run(work())
    tree = Run(tmp_path / "run").tree
    twin, sane = tree.record(wrapped.design_id), tree.record(other.design_id)
    assert (twin.state, twin.inherited_from) == (DesignState.TWIN, seed_design("gpt").design_id)
    assert sane.state is DesignState.IMPLEMENTED and sane.fingerprint != twin.fingerprint
    assert twin.id not in tree.waiting("tiny-1") and sane.id in tree.waiting("tiny-1")
