"""The bandit over models: rewards are fitness gained for a dollar, and come from the books alone."""

from __future__ import annotations

from random import Random

import pytest

from genesys.evolution import EvolutionTree
from genesys.evolution.arms import EXPLORED, arm_weights, arms
from genesys.evolution.events import DesignImplemented, DesignProposed, DesignRejected, ProposalFailed, SessionStarted
from genesys.testing.books import add_design, start_tree, verify

ROLES = {"coder": {"good": 1.0, "bad": 1.0}}


def session(tree: EvolutionTree, model: str, quality: float | None, usd: float = 1.0) -> None:
    """One session with a design of a quality; None for a proposal that failed, below 0 for a design that is unsound."""
    n = tree.counters["session_started"]
    name, design = f"session-{n}", f"made-{n}"
    tree.apply(SessionStarted(session=name, designer="d", operator="mutation", parents=("seed",), task="t"))
    if quality is None:
        failure = ProposalFailed(
            designer="d", operator="mutation", reason="", cause="units", session=name, cost_usd=usd, models={"coder": model}
        )  # fmt: skip
        tree.apply(failure)
        return
    tree.apply(
        DesignProposed(
            design=design, name=design, program="p", operator="mutation", parents=("seed",), session=name, cost_usd=usd,
            models={"coder": model},
        )
    )  # fmt: skip
    if quality < 0:
        tree.apply(DesignRejected(design=design, findings=()))
        return
    tree.apply(DesignImplemented(design=design))
    verify(tree, design, "small", quality)


def seeded() -> EvolutionTree:
    tree = start_tree(quotas=(100, 5, 2), reference="seed")
    add_design(tree, "seed", is_seed=True)
    verify(tree, "seed", "small", 0.5)
    return tree


def test_an_arm_s_gain_counts_failures_and_never_falls_below_nothing() -> None:
    tree = seeded()
    for quality in (0.9, 0.1, None, -1.0):
        session(tree, "good", quality, usd=2.0)
    (arm,) = arms(tree)
    gain = tree.ratings.fitness("made-0")["small"].value
    assert gain > 0 > tree.ratings.fitness("made-1")["small"].value
    assert (arm.role, arm.model, arm.n, arm.n_designs, arm.usd) == ("coder", "good", 4, 3, 2.0)
    assert arm.gain == pytest.approx(gain / 4) and arm.gain_per_usd == pytest.approx(gain / 8)


def test_what_ended_through_no_fault_of_a_model_tells_nothing() -> None:
    tree = seeded()
    for cause in ("money", "stale", "bug", "poison"):
        tree.apply(SessionStarted(session=cause, designer="d", operator="mutation", parents=("seed",), task="t"))
        failure = ProposalFailed(
            designer="d", operator="mutation", reason="", cause=cause, session=cause, models={"coder": "good"}
        )
        tree.apply(failure)
    assert not arms(tree)


def test_designs_that_wait_for_a_verification_tell_nothing_yet() -> None:
    tree = seeded()
    tree.apply(SessionStarted(session="s", designer="d", operator="mutation", parents=("seed",), task="t"))
    made = DesignProposed(
        design="x", name="x", program="p", operator="mutation", parents=("seed",), session="s", models={"coder": "good"}
    )
    tree.apply(made)
    tree.apply(DesignImplemented(design="x"))
    assert arms(tree) == () and arm_weights(tree, ROLES, Random(0)) == {}


def test_the_model_that_earns_more_is_drawn_more() -> None:
    tree = seeded()
    for n in range(12):
        session(tree, "good", 0.8 + n / 100)
        session(tree, "bad", None)
    weights = arm_weights(tree, ROLES, Random(0))["coder"]
    assert weights["good"] > 0.9 and weights["bad"] >= EXPLORED / 2
    assert sum(weights.values()) == pytest.approx(1.0)


def test_of_two_as_good_the_cheaper_is_drawn_more() -> None:
    tree = seeded()
    for n in range(12):
        session(tree, "good", 0.7 + n / 100, usd=0.1)
        session(tree, "bad", 0.7 + n / 100, usd=2.0)
    weights = arm_weights(tree, ROLES, Random(0))["coder"]
    assert weights["good"] > 0.8


def test_equal_books_and_seeds_give_equal_weights_and_a_weight_of_none_stays_none() -> None:
    tree = seeded()
    session(tree, "good", 0.9)
    roles = {"coder": {"good": 1.0, "bad": 1.0, "off": 0.0}, "proposer": {"only": 1.0}}
    first, again = (arm_weights(tree, roles, Random(7)) for _ in range(2))
    assert first == again and set(first) == {"coder"} and set(first["coder"]) == {"good", "bad"}
    assert all(0 < weight < 1 for weight in first["coder"].values()), "one session settles nothing"


def test_where_nothing_costs_anything_gains_decide() -> None:
    tree = seeded()
    for n in range(12):
        session(tree, "good", 0.8 + n / 100, usd=0.0)
        session(tree, "bad", None, usd=0.0)
    assert arm_weights(tree, ROLES, Random(0))["coder"]["good"] > 0.9
