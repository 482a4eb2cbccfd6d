"""Caps in the books: set aside with a lease, booked when it ends, raised by a resume; and what is found by what it is."""

from __future__ import annotations

import pytest

from genesys.evolution import BookkeepingError, EvolutionTree
from genesys.evolution.events import (
    DesignImplemented,
    DesignProposed,
    DesignTwinned,
    LeaseGranted,
    LeaseRefunded,
    RunResumed,
    RunStarted,
    VerificationFailed,
    VerificationRecorded,
)
from genesys.evolution.fitness import RelativeFitness
from genesys.evolution.status import run_status
from genesys.testing import add_design, metrics_for

HOUR = 3600.0


def capped(**caps: float) -> EvolutionTree:
    tree = EvolutionTree(RelativeFitness())
    tree.apply(RunStarted(run="r", scales=("small", "large"), quotas=(5, 2), config={"caps": caps}))
    for design in ("a", "b"):
        add_design(tree, design)
    return tree


def grant(tree: EvolutionTree, design: str, gpu_seconds: float = HOUR, n_tokens: int = 100) -> int:
    lease = tree.last_lease + 1
    tree.apply(
        LeaseGranted(lease=lease, design=design, scale="small", holder="h", gpu_seconds=gpu_seconds, n_tokens=n_tokens)
    )
    return lease


def test_a_lease_beyond_a_cap_is_refused_and_leaves_no_trace() -> None:
    tree = capped(gpu_seconds=1.5 * HOUR)
    grant(tree, "a")
    before = tree.digest()
    with pytest.raises(BookkeepingError, match=r"the cap of 1.5 GPU-hours leaves no room for a run at 'small'"):
        grant(tree, "b")
    assert tree.digest() == before and tree.ledger.account("small").used == 1


def test_a_refund_releases_the_reservation_and_books_what_was_used() -> None:
    tree = capped(gpu_seconds=1.5 * HOUR, runs=1)
    lease = grant(tree, "a")
    tree.apply(LeaseRefunded(lease=lease, cause="killed", gpu_seconds=0.75 * HOUR, n_tokens=70))
    assert (tree.budget.spent.gpu_seconds, tree.budget.spent.n_tokens, tree.budget.spent.runs) == (0.75 * HOUR, 70, 0)
    with pytest.raises(BookkeepingError, match=r"the cap of 1.5 GPU-hours"):
        grant(tree, "b")
    grant(tree, "b", 0.75 * HOUR)


def test_more_than_was_set_aside_is_booked_as_it_is() -> None:
    tree = capped(usd=10.0, usd_per_gpu_hour=4.0)
    lease = grant(tree, "a")
    tree.apply(
        VerificationRecorded(
            lease=lease, design="a", scale="small", metrics=metrics_for(0.5), report="r", gpu_seconds=3 * HOUR
        )
    )
    assert tree.budget.usd == 12.0 and tree.record("a").runs[0].gpu_seconds == 3 * HOUR
    with pytest.raises(BookkeepingError, match=r"the cap of 10.00 USD"):
        grant(tree, "b", 0.0)


@pytest.mark.parametrize("cause", ["failed", "poison"])
def test_what_a_run_that_gave_nothing_used_stands_in_its_record(cause: str) -> None:
    tree = capped()
    lease = grant(tree, "a")
    if cause == "failed":
        tree.apply(
            VerificationFailed(
                lease=lease, design="a", scale="small", cause="non-finite", seconds=9.0, n_tokens=7, gpu_seconds=8.0
            )
        )
    else:
        for n in (1, 2, 3):
            tree.apply(LeaseRefunded(lease=lease, cause="killed", seconds=9.0, n_tokens=7, gpu_seconds=8.0))
            lease = grant(tree, "a") if n < 3 else 0
    (run,) = tree.record("a").runs
    assert (run.outcome, run.seconds, run.n_tokens, run.gpu_seconds) == (cause, 9.0, 7, 8.0)
    assert tree.budget.spent.n_tokens == (7 if cause == "failed" else 21) and tree.budget.reserved == (0, 0, 0)


def test_a_resumed_run_goes_on_under_new_caps() -> None:
    tree = capped(runs=1)
    grant(tree, "a")
    tree.apply(RunResumed(caps={"runs": 2}))
    grant(tree, "b")
    again = EvolutionTree.from_snapshot(tree.to_snapshot(), RelativeFitness())
    assert again.caps.runs == 2 and again.budget.reserved == tree.budget.reserved


@pytest.mark.parametrize("n_tokens", [-1, 5])
@pytest.mark.parametrize("gpu_seconds", [float("inf"), float("nan"), -1.0])
def test_a_claim_that_makes_no_sense_is_refused_without_a_trace(n_tokens: int, gpu_seconds: float) -> None:
    tree = capped()
    lease = grant(tree, "a")
    before = tree.digest()
    with pytest.raises(BookkeepingError, match="expected finite numbers"):
        tree.apply(LeaseRefunded(lease=lease, cause="killed", n_tokens=n_tokens, gpu_seconds=gpu_seconds))
    assert tree.digest() == before


@pytest.mark.parametrize("config", [{"caps": {"gpus": 1}}, {"caps": [1]}, {"run_costs": {"small": {"hours": 1}}}])
def test_a_run_with_caps_that_make_no_sense_does_not_start(config: dict[str, object]) -> None:
    tree = EvolutionTree(RelativeFitness())
    with pytest.raises(BookkeepingError, match=r"Cannot (set cap|read the caps or run costs)"):
        tree.apply(RunStarted(run="r", scales=("small",), quotas=(5,), config=config))
    assert tree.run is None


def test_the_status_says_what_was_used_of_what() -> None:
    tree = capped(runs=5, gpu_seconds=2 * HOUR)
    tree.apply(LeaseRefunded(lease=grant(tree, "a"), cause="killed", gpu_seconds=0.5 * HOUR))
    grant(tree, "a", 0.25 * HOUR)
    status = run_status(tree)
    assert status.spending == "0 of 5 runs, 0.5 of 2 GPU-hours"
    assert [cap.reserved for cap in status.caps] == [1, 100, 0.25, 0.0]


def test_the_first_proposed_of_equal_designs_is_found_whichever_was_checked_first() -> None:
    tree = EvolutionTree(RelativeFitness())
    tree.apply(RunStarted(run="r", scales=("small",), quotas=(5,)))
    for design in ("a", "b", "c"):
        tree.apply(DesignProposed(design=design, name=design, program=design, operator="scratch", normal_form="form"))
    tree.apply(DesignImplemented(design="b", fingerprint="print"))
    assert (tree.by_fingerprint, tree.by_normal_form) == ({"print": "b"}, {"form": "b"})
    tree.apply(DesignImplemented(design="a", fingerprint="print"))
    tree.apply(DesignTwinned(design="c", inherited_from="b", fingerprint="print"))
    assert (tree.by_fingerprint, tree.by_normal_form) == ({"print": "a"}, {"form": "a"})


def test_a_twin_of_a_twin_is_refused() -> None:
    tree = capped()
    for design in ("c", "d"):
        tree.apply(DesignProposed(design=design, name=design, program=design, operator="scratch"))
    tree.apply(DesignTwinned(design="c", inherited_from="a"))
    with pytest.raises(BookkeepingError, match="that is twin; expected another design that passed its check"):
        tree.apply(DesignTwinned(design="d", inherited_from="c"))
