"""What a session is told of a run: measured, bounded, and with causes."""

from __future__ import annotations

import json
from typing import Any

import pytest

from genesys.evolution import EvolutionTree
from genesys.evolution.events import (
    DesignProposed,
    DesignRejected,
    DesignTwinned,
    LeaseGranted,
    LessonsWritten,
    ProposalFailed,
    SessionStarted,
    VerificationFailed,
    VerificationRecorded,
)
from genesys.evolution.evidence import evidence, evidence_from_json, evidence_to_json
from genesys.testing.books import add_design, metrics_for, start_tree, verify

TASKS = {
    "task_blimp": 0.75, "task_blimp_chance": 0.5, "task_cola": 0.5, "task_cola_chance": 0.5, "task_mine": 0.25,
    "task_arc_easy": 0.5, "task_arc_easy_chance": 0.25,
}  # fmt: skip


def record(tree: EvolutionTree, design: str, metrics: dict[str, float]) -> None:
    lease = tree.last_lease + 1
    tree.apply(LeaseGranted(lease=lease, design=design, scale="small", holder="t"))
    tree.apply(VerificationRecorded(lease=lease, design=design, scale="small", metrics=metrics, report="r"))


def propose(tree: EvolutionTree, design: str, **told: Any) -> None:
    tree.apply(DesignProposed(design=design, name=design, program=design, operator="mutation", **told))


@pytest.fixture
def tree() -> EvolutionTree:
    """A seed, its child that failed, one that was rejected, one that is a twin, and one not yet checked."""
    tree = start_tree(reference="seed")
    add_design(tree, "seed", is_seed=True)
    record(tree, "seed", metrics_for(0.5) | TASKS)
    for name in ("failed", "good"):
        add_design(tree, name, parents=("seed",))
    tree.apply(LeaseGranted(lease=tree.last_lease + 1, design="failed", scale="small", holder="t"))
    tree.apply(
        VerificationFailed(
            lease=tree.last_lease, design="failed", scale="small", cause="diverged", reason="loss\nrose to 9"
        )
    )
    verify(tree, "good", "small", 0.9)
    propose(tree, "leaky", parents=("seed",))
    finding = {"rule": "causality", "severity": "error", "unit": "Gate", "measured": "leaks 0.2", "required": "0"}
    warning = {"rule": "cost", "severity": "warning", "unit": "Gate", "measured": "slow"}
    tree.apply(DesignRejected(design="leaky", findings=(warning, finding)))
    propose(tree, "twin", parents=("seed",))
    tree.apply(DesignTwinned(design="twin", inherited_from="good"))
    propose(tree, "unchecked", parents=("seed",))
    return tree


def test_parents_come_with_their_results_by_scale_and_family(tree: EvolutionTree) -> None:
    (parent,) = evidence(tree, ("seed",), deltas=lambda design: {"mixer": (0.5, 0.25, 0.75)}).parents
    (small,) = parent.measured
    assert (small.scale, small.fitness, small.test_bpb) == ("small", 0.0, 2.5)
    assert small.interval[0] < 0 < small.interval[1]
    assert small.families == pytest.approx(
        {"grammar": 0.25, "knowledge": 1 / 3, "mine": 0.25, "probe recall": (0.95 - 0.125) / 0.875}
    )
    assert parent.deltas == {"mixer": (0.5, 0.25, 0.75)}


def test_siblings_are_the_latest_of_which_something_is_known(tree: EvolutionTree) -> None:
    first, second = evidence(tree, ("seed",)).siblings
    assert [first.design, second.design] == ["twin", "leaky"]
    assert (first.outcome, first.cause) == ("twin", "computes what design good does")
    assert first.measured[0].fitness > 0, "a twin's results are those that it inherits"
    assert (second.outcome, second.cause) == ("rejected", "causality in Gate: leaks 0.2; 0")
    assert len(evidence(tree, ("seed",), n_siblings=9).siblings) == 4


def test_failures_have_their_causes_the_latest_first_of_sessions_and_designs(tree: EvolutionTree) -> None:
    for n, cause in enumerate(("proposal", "money")):
        tree.apply(SessionStarted(session=f"session-{n}", designer="d", operator="scratch", task="t"))
        told = {"designer": "d", "operator": "scratch", "title": "Old idea", "session": f"session-{n}"}
        tree.apply(ProposalFailed(reason="rated 2 of 5", cause=cause, **told))
    found = evidence(tree, ()).failures
    assert [known.outcome for known in found] == ["proposal-failed", "rejected", "failed"]
    assert (found[0].design, found[0].title, found[0].cause) == ("session-0", "Old idea", "proposal: rated 2 of 5")
    assert found[2].cause == "diverged at small: loss rose to 9"


def test_leaders_and_lessons_are_told(tree: EvolutionTree) -> None:
    tree.apply(SessionStarted(session="session-1", designer="d", operator="lessons", task="t"))
    tree.apply(LessonsWritten(session="session-1", text="- Gates help [good].", n_designs=5))
    found = evidence(tree, ("good",))
    assert [known.design for known in found.leaders] == ["good", "seed"]
    assert found.lessons == "- Gates help [good]."


def test_it_is_plain_data_and_back(tree: EvolutionTree) -> None:
    found = evidence(tree, ("seed", "good"), deltas=lambda design: {"mixer": (0.5, 0.25, 0.75)})
    assert evidence_from_json(json.loads(json.dumps(evidence_to_json(found)))) == found


def test_its_size_does_not_grow_with_the_run() -> None:
    tree = start_tree(quotas=(300, 5, 2), reference="seed")
    add_design(tree, "seed", is_seed=True)
    sizes = []
    for n in range(200):
        propose(tree, f"design-{n:03}", parents=("seed",))
        tree.apply(DesignRejected(design=f"design-{n:03}", findings=()))
        sizes.append(len(json.dumps(evidence_to_json(evidence(tree, ("seed",))))))
    assert sizes[-1] == sizes[20]
    assert [known.design for known in evidence(tree, ("seed",)).failures] == ["design-199", "design-198", "design-197"]
