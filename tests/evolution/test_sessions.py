"""Sessions of language models in the books: each ends once, and replay, snapshot and life agree on them."""

from __future__ import annotations

import json
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from genesys.evolution import BookkeepingError, EvolutionTree
from genesys.evolution.events import (
    DesignImplemented,
    DesignProposed,
    DesignRejected,
    Event,
    LessonsWritten,
    ProposalFailed,
    RunResumed,
    SessionStarted,
    n_failed_in_a_row,
)
from genesys.evolution.evidence import Evidence, Known, Measured
from genesys.evolution.fitness import RelativeFitness
from genesys.evolution.sessions import (
    SessionTask,
    decode_task,
    encode_task,
    is_lessons_due,
    new_session_id,
    next_to_refine,
)
from genesys.testing.books import add_design, apply, start_tree


def started(session: str, operator: str = "scratch", parents: tuple[str, ...] = ()) -> SessionStarted:
    return SessionStarted(session=session, designer="d", operator=operator, parents=parents, task="t", pool="llm")


def proposed(design: str, session: str = "", parents: tuple[str, ...] = ()) -> DesignProposed:
    return DesignProposed(
        design=design, name=design, program=design, operator="mutation", session=session, parents=parents
    )


def failed(session: str, cause: str = "proposal") -> ProposalFailed:
    return ProposalFailed(designer="d", operator="scratch", reason="weak", cause=cause, session=session)


@given(st.lists(st.integers(0, 2**32), max_size=60))
def test_replay_and_snapshot_give_what_life_gave(draws: list[int]) -> None:
    events: list[Event] = []
    tree = start_tree(events=events)
    for draw in draws:
        rng = Random(draw)
        open_ = rng.choice([*tree.open_sessions, "session-0"])
        event = rng.choice(
            [
                started(new_session_id(tree), rng.choice(("scratch", "lessons"))),
                proposed(f"design-{len(tree)}", open_),
                failed(open_, rng.choice(("proposal", "money"))),
                LessonsWritten(session=open_, text="- Gates.", n_designs=len(tree)),
                RunResumed(),
            ]
        )
        before = tree.digest()
        try:
            apply(tree, event, events)
        except BookkeepingError:
            assert open_ not in tree.open_sessions and tree.digest() == before
    replayed = EvolutionTree(RelativeFitness())
    replayed.replay(events)
    restored = EvolutionTree.from_snapshot(json.loads(json.dumps(tree.to_snapshot())), RelativeFitness())
    assert tree.digest() == replayed.digest() == restored.digest()
    for other in (replayed, restored):
        assert list(other.open_sessions.items()) == list(tree.open_sessions.items())
        assert [*other.authored] == [*tree.authored]
        for ended in {*tree._closed_sessions, *tree.open_sessions}:
            with pytest.raises(BookkeepingError, match="was started before"):
                other.apply(started(ended))


@pytest.mark.parametrize(
    "event",
    [proposed("x", "session-9"), failed("session-9"), LessonsWritten(session="session-9", text="", n_designs=0)],
)
def test_who_ends_a_session_that_is_not_open_is_refused(event: Event) -> None:
    tree = start_tree()
    with pytest.raises(BookkeepingError, match="Cannot end session 'session-9': it is not open"):
        tree.apply(event)
    assert "x" not in tree.records


def test_a_session_of_parents_that_are_not_there_is_refused() -> None:
    with pytest.raises(BookkeepingError, match="Cannot find design 'nobody'"):
        start_tree().apply(started("session-1", "mutation", ("nobody",)))


def test_money_stops_sessions_until_the_run_is_resumed() -> None:
    tree = start_tree()
    tree.apply(started("session-1"))
    tree.apply(failed("session-1", "money"))
    assert tree.out_of_money == "weak"
    tree.apply(RunResumed())
    assert not tree.out_of_money


def test_money_lessons_and_stale_sessions_are_no_failures_in_a_row() -> None:
    lessons = ProposalFailed(designer="d", operator="lessons", reason="", cause="refused", session="s")
    ends: list[Event] = [failed("a"), failed("b", "money"), failed("c", "stale"), lessons, failed("d")]
    assert n_failed_in_a_row(ends) == 2


def test_lessons_are_due_by_the_number_of_designs_whether_they_came_or_not() -> None:
    tree = start_tree()
    for i in range(4):
        add_design(tree, f"design-{i}")
    assert is_lessons_due(tree, 4) and not is_lessons_due(tree, 5) and not is_lessons_due(tree, 0)
    tree.apply(started("session-1", "lessons"))
    assert not is_lessons_due(tree, 1), "somebody is at it"
    tree.apply(failed("session-1"))
    assert not is_lessons_due(tree, 1), "they were asked for, and are not asked for at once again"
    add_design(tree, "design-4")
    assert is_lessons_due(tree, 1)


def test_each_design_of_a_model_is_refined_so_often_first_come_first_served() -> None:
    tree = start_tree()
    for i in (1, 2, 3):
        tree.apply(started(f"session-{i}"))
        apply(tree, proposed(f"made-{i}", f"session-{i}"))
    tree.apply(DesignRejected(design="made-1", findings=()))
    assert next_to_refine(tree, 2, {}) == "", "none has passed its check"
    for i in (2, 3):
        tree.apply(DesignImplemented(design=f"made-{i}"))
    assert next_to_refine(tree, 2, {}) == "made-2"
    assert next_to_refine(tree, 2, {"made-2": 2}) == "made-3", "children in the making, or that failed, count"
    add_design(tree, "a", parents=("made-2",))
    add_design(tree, "b", parents=("made-2",))
    assert next_to_refine(tree, 2, {}) == "made-3"
    assert next_to_refine(tree, 0, {}) == ""


def test_a_task_is_read_back_as_it_was() -> None:
    measured = Measured(scale="small", fitness=0.5, interval=(0.25, 0.75), families={"grammar": 0.5}, test_bpb=1.5)
    known = Known(design="a", name="a", measured=(measured,), deltas={"mixer": (0.5, 0.25, 0.75)})
    task = SessionTask(
        session="session-1", operator="mutation", parents=("a",), seed=3, evidence=Evidence(parents=(known,), lessons="x"),
        odds={"mutation": 0.5}, bounds={"imports": "torch"}, limits={"beam": 2}, weights={"coder": {"m": 0.5}},
    )  # fmt: skip
    assert decode_task(encode_task(task)) == task
    assert encode_task(decode_task(encode_task(task))) == encode_task(task)
