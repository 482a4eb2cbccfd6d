"""Caps on a run: never passed, always the true reason at the end, and raised to go on."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from genesys.evolution import EvolutionTree
from genesys.evolution.events import (
    Event,
    LeaseGranted,
    LeaseRefunded,
    RunResumed,
    VerificationFailed,
    VerificationRecorded,
)
from genesys.evolution.fitness import RelativeFitness
from genesys.evolution.promotion import PROMOTIONS, Finished, SuccessiveHalving, Verify, Wait, decide
from genesys.ladder.budget import Cost
from genesys.testing import add_design, climb, metrics_for, start_tree, verify

COSTS = ((100, 10.0), (300, 40.0), (1000, 200.0))
STRATEGIES = [factory() for factory in PROMOTIONS.values()]


@settings(max_examples=200, deadline=None)
@given(
    caps=st.fixed_dictionaries(
        {},
        optional={
            "runs": st.integers(0, 30), "tokens": st.integers(0, 6000), "gpu_seconds": st.integers(0, 900),
            "usd": st.integers(0, 2),
        },
    ),
    training_seeds=st.integers(1, 2),
    n_verifiers=st.integers(1, 8),
    p_refund=st.sampled_from([0.0, 0.2]),
    p_fail=st.sampled_from([0.0, 0.2]),
    strategy=st.sampled_from(STRATEGIES),
    seed=st.integers(0, 2**32),
)  # fmt: skip
def test_no_cap_is_passed_and_the_run_says_which_one_ended_it(
    caps: dict[str, int], training_seeds: int, n_verifiers: int, p_refund: float, p_fail: float, strategy, seed: int
) -> None:  # type: ignore[no-untyped-def]
    events: list[Event] = []
    priced = {**caps, "usd_per_gpu_hour": 12.0}
    tree = start_tree(
        quotas=(10, 4, 2), reference="design-0", caps=priced, costs=COSTS, training_seeds=training_seeds, events=events
    )
    reason = climb(
        tree, strategy, n_designs=13, n_verifiers=n_verifiers, rng=Random(seed), p_refund=p_refund, p_fail=p_fail,
        events=events,
    )  # fmt: skip
    replayed = EvolutionTree(RelativeFitness())
    for event in events:  # at every moment, not at the end alone
        replayed.apply(event)
        total = replayed.budget.spent.plus(replayed.budget.reserved)
        assert total.runs <= caps.get("runs", total.runs)
        assert total.n_tokens <= caps.get("tokens", total.n_tokens)
        assert total.gpu_seconds <= caps.get("gpu_seconds", total.gpu_seconds)
        assert replayed.caps.usd_of(total) <= caps.get("usd", replayed.caps.usd_of(total))
    accounts = [tree.ledger.account(s, replicates=r) for s in tree.scales for r in (False, True)]
    if "cap" in reason:
        assert "leaves no room" in reason and any(account.left for account in accounts)
        assert any(tree.budget.shortage(tree.run_costs[s]) for s in tree.scales)
    else:
        assert tree.ledger.is_spent() == (reason == "every quota is spent")


def test_what_can_be_paid_is_used() -> None:
    """A cap of so many runs is used to the last one, whatever the strategy."""
    for strategy in STRATEGIES:
        tree = start_tree(quotas=(10, 4, 2), reference="design-0", caps={"runs": 7})
        reason = climb(tree, strategy, n_designs=13, n_verifiers=3, rng=Random(0))
        assert tree.budget.spent.runs == 7 and "the cap of 7 runs leaves no room for a run at small" in reason


def test_the_reason_names_the_cap_and_the_scale() -> None:
    tree = start_tree(quotas=(1, 1), caps={"gpu_seconds": 7200}, costs=((0, 1800.0), (0, 7200.0)))
    add_design(tree, "a")
    verify(tree, "a", "small", 0.5)
    assert isinstance(decide(tree, SuccessiveHalving(), Random(0)), Verify)  # the run used nothing
    tree = start_tree(quotas=(2, 1), caps={"gpu_seconds": 7200}, costs=((0, 1800.0), (0, 7200.0)))
    add_design(tree, "a")
    tree.apply(LeaseGranted(lease=1, design="a", scale="small", holder="h", gpu_seconds=1800.0))
    waiting = decide(tree, SuccessiveHalving(), Random(0), proposals_open=False)
    assert isinstance(waiting, Wait)
    tree.apply(VerificationFailed(lease=1, design="a", scale="small", cause="diverged", gpu_seconds=900.0))
    add_design(tree, "b")
    tree.apply(LeaseGranted(lease=2, design="b", scale="small", holder="h", gpu_seconds=1800.0))
    verify_under(tree, 2, "b", used_s=1700.0)
    ended = decide(tree, SuccessiveHalving(), Random(0), proposals_open=False)
    assert ended == Finished(reason="the cap of 2 GPU-hours leaves no room for a run at middle")


def test_a_run_waits_while_what_runs_may_give_back() -> None:
    tree = start_tree(quotas=(3,), caps={"tokens": 250}, costs=((100, 0.0),), training_seeds=2)
    for name in ("a", "b", "c"):
        add_design(tree, name)
    for lease, name in enumerate(("a", "b"), start=1):
        tree.apply(LeaseGranted(lease=lease, design=name, scale="small", holder="h", n_tokens=100))
    waiting = decide(tree, SuccessiveHalving(), Random(0))
    expected = "the cap of 250 tokens leaves no room for a run at small until a run ends"
    assert waiting == Wait(reason=expected, is_capped=True)
    tree.apply(LeaseRefunded(lease=1, cause="killed", n_tokens=50))
    decision = decide(tree, SuccessiveHalving(), Random(0))
    assert isinstance(decision, Verify) and decision.seed == 0


def test_a_replicate_does_not_take_the_room_that_the_ladder_waits_for() -> None:
    tree = start_tree(quotas=(2, 1), caps={"tokens": 400}, costs=((100, 0.0), (200, 0.0)), training_seeds=2)
    for name in ("a", "b"):
        add_design(tree, name)
    verify(tree, "a", "small", 0.5)
    verify(tree, "b", "small", 0.4)
    tree.apply(LeaseGranted(lease=3, design="b", scale="small", seed=1, holder="h", n_tokens=250))
    decision = decide(tree, SuccessiveHalving(), Random(0), proposals_open=False)
    assert isinstance(decision, Wait) and decision.is_capped


def test_a_cap_is_raised_to_go_on() -> None:
    tree = start_tree(quotas=(4, 2), caps={"runs": 2})
    assert "cap of 2 runs" in climb(tree, SuccessiveHalving(), n_designs=4, rng=Random(0))
    assert isinstance(decide(tree, SuccessiveHalving(), Random(0)), Finished)
    tree.apply(RunResumed(reason="resumed", caps={"runs": 5}))
    assert isinstance(decide(tree, SuccessiveHalving(), Random(0)), Verify)
    tree.apply(RunResumed(reason="resumed", caps={"usd_per_gpu_hour": 0.0}))
    assert tree.caps.runs is None


def test_further_seeds_that_a_cap_rules_out_are_named() -> None:
    tree = start_tree(quotas=(1,), caps={"runs": 1}, training_seeds=3)
    add_design(tree, "a")
    verify(tree, "a", "small", 0.5)
    ended = decide(tree, SuccessiveHalving(), Random(0))
    assert ended == Finished(
        reason="every quota is spent; the cap of 1 run leaves no room for a further training seed at small"
    )


def verify_under(tree: EvolutionTree, lease: int, design: str, *, used_s: float) -> None:

    tree.apply(
        VerificationRecorded(
            lease=lease, design=design, scale="small", metrics=metrics_for(0.5), report="r", gpu_seconds=used_s
        )
    )


@pytest.mark.parametrize("strategy", STRATEGIES, ids=lambda s: type(s).__name__)
def test_a_run_whose_cap_allows_nothing_ends_at_once(strategy) -> None:  # type: ignore[no-untyped-def]
    tree = start_tree(quotas=(4, 2), caps={"tokens": 10}, costs=((100, 0.0), (5, 0.0)))
    add_design(tree, "a")
    ended = decide(tree, strategy, Random(0))
    assert ended == Finished(reason="the cap of 10 tokens leaves no room for a run at small")
    assert tree.budget.spent == Cost()
