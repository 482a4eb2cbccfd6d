"""Laws 18 and 19 for the tree: replay equals life, and no interleaving breaks the books."""

from __future__ import annotations

import gc
import json
from dataclasses import replace
from random import Random
from typing import Any
from unittest.mock import patch

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks._long_run import LongRun
from genesys.evolution import BookkeepingError, DesignState, EvolutionTree, ranking
from genesys.evolution.events import (
    DesignImplemented,
    DesignProposed,
    DesignRejected,
    DesignTwinned,
    Event,
    LeaseGranted,
    LeaseRefunded,
    PolicyFailed,
    ProposalFailed,
    RunDraining,
    RunFinished,
    RunResumed,
    RunStarted,
    VerificationFailed,
    VerificationRecorded,
    event_from_json,
    event_to_json,
)
from genesys.evolution.fitness import RelativeFitness
from genesys.evolution.packed import PackedMetrics
from genesys.evolution.promotion import SuccessiveHalving
from genesys.ladder.budget import Cost
from genesys.testing import add_design, climb, metrics_for, start_tree, verify

DESIGNS = [f"d{i}" for i in range(6)]


def random_event(rng: Random, last_lease: int) -> Event:
    """Any event, most of them out of place: duplicates, late commits, unknown names, leases of the past."""
    design, scale = rng.choice([*DESIGNS, "unknown"]), rng.choice(["small", "middle", "large", "nowhere"])
    lease, seed = max(1, last_lease + rng.choice([-3, -2, -1, 0, 0, 0, 1, 1])), rng.choice([0, 0, 0, 1])
    parents = tuple(rng.sample(DESIGNS, rng.choice([0, 0, 1, 2])))
    metrics = metrics_for(rng.random(), recall=rng.random() < 0.5)
    if rng.random() < 0.05:
        metrics["test_bpb"] = float("nan")
    used: dict[str, Any] = {"n_tokens": rng.randrange(12), "gpu_seconds": rng.choice([0.1, 0.7, 3.3])}
    proposed = DesignProposed(
        design=design, name=design, program="p", operator="mutation", parents=parents, is_seed=rng.random() < 0.4,
        normal_form=rng.choice(["", "form-1", "form-2"]),
    )  # fmt: skip
    print_ = rng.choice(["", "print-1", "print-2"])
    twinned = DesignTwinned(design=design, inherited_from=rng.choice(DESIGNS), fingerprint=print_)
    granted = LeaseGranted(
        lease=lease, design=design, scale=scale, holder="h", seed=seed, n_tokens=10, gpu_seconds=rng.choice([0.1, 2.5])
    )
    recorded = VerificationRecorded(
        lease=lease, design=design, scale=scale, metrics=metrics, report="r", seed=seed, **used
    )
    failed = VerificationFailed(lease=lease, design=design, scale=scale, cause="non-finite", seed=seed, **used)
    choices: list[tuple[Event, int]] = [
        (proposed, 5),
        (DesignImplemented(design=design, sizes={"small": {"d_model": 8}}, fingerprint=print_), 5),
        (twinned, 2),
        (DesignRejected(design=design, findings=({"rule": "shape"},)), 1),
        (granted, 10),
        (LeaseRefunded(lease=lease, cause=rng.choice(["killed", "stopped"]), **used), 3),
        (recorded, 10),
        (failed, 2),
        (ProposalFailed(designer="x", operator="mutation", reason="none"), 1),
        (PolicyFailed(policy="selection", strategy="X", reason="none"), 1),
        (RunDraining(reason="stop"), 1),
        (RunResumed(), 10),
        (RunResumed(caps={"runs": rng.randrange(12), "tokens": 90}), 2),
        (RunFinished(reason="end"), 1),
        (RunStarted(run="again", scales=("a",), quotas=(1,)), 1),
    ]
    return rng.choices([event for event, _ in choices], [weight for _, weight in choices])[0]


def fitting_event(tree: EvolutionTree, rng: Random) -> Event | None:
    """Something that the books should take now: a check, a lease for whoever waits, an end of what runs."""
    options: list[Event] = [DesignImplemented(design=d) for d in [*tree.in_state(DesignState.PROPOSED)][:1]]
    for scale in tree.scales:
        for design in [*tree.waiting(scale)][:2]:
            recipe = rng.choice(["", "lr=1"])
            options.append(
                LeaseGranted(lease=tree.last_lease + 1, design=design, scale=scale, holder="h", recipe=recipe)
            )
    for record in [r for r in tree if r.runs][:2]:
        replicate: dict[str, Any] = {"seed": rng.choice([1, 2]), "recipe": rng.choice(["", "lr=1"])}
        options.append(
            LeaseGranted(lease=tree.last_lease + 2, design=record.id, scale="small", holder="h", **replicate)
        )
    for lease in tree.leases.values():
        what: dict[str, Any] = dict(zip(("design", "scale", "seed", "recipe"), lease.key, strict=True)) | {
            "lease": lease.lease
        }
        metrics = metrics_for(rng.random(), recall=rng.random() < 0.5)
        options += [VerificationRecorded(metrics=metrics, report="r", **what)] * 3
        options += [VerificationFailed(cause="non-finite", **what), LeaseRefunded(lease=lease.lease, cause="killed")]
    return rng.choice(options) if options else None


def live(seed: int, n_steps: int, quotas: tuple[int, ...], reference: str) -> tuple[EvolutionTree, list[Event]]:
    rng, events = Random(seed), list[Event]()
    rule = RelativeFitness()
    tree = EvolutionTree(rule)
    config = {
        "replicate_quotas": {"small": 3},
        "caps": rng.choice([{}, {"runs": 7}, {"tokens": 55}, {"gpu_seconds": 9}]),
    }
    started = RunStarted(
        run="r", scales=("small", "middle", "large"), quotas=quotas, reference=reference, config=config
    )
    for step in range(n_steps):
        fitting = fitting_event(tree, rng) if rng.random() < 0.5 else None
        event = started if step == 0 else fitting or random_event(rng, tree.last_lease)
        before = tree.digest()
        try:
            tree.apply(event)
        except BookkeepingError:
            assert tree.digest() == before, f"a refused {event.kind} left a trace"
        else:
            events.append(event)
            if isinstance(event, LeaseGranted):
                assert tree.budget.room(Cost()), "a grant passed a cap"
    return tree, events


@settings(max_examples=120, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    n_steps=st.integers(1, 150),
    quotas=st.sampled_from([(6, 3, 1), (2, 2, 2), (0, 0, 0), (4, 1, 0)]),
    reference=st.sampled_from(["", "d0"]),
)
def test_books_hold_under_any_interleaving_and_replay_equals_life(
    seed: int, n_steps: int, quotas: tuple[int, ...], reference: str
) -> None:
    tree, events = live(seed, n_steps, quotas, reference)
    audit(tree)
    replayed = EvolutionTree(RelativeFitness())
    for event in events:
        replayed.apply(event_from_json(json.loads(json.dumps(event_to_json(event)))))
    assert replayed.digest() == tree.digest()
    restored = EvolutionTree.from_snapshot(json.loads(json.dumps(tree.to_snapshot())), RelativeFitness())
    for other in (replayed, restored):
        assert other.digest() == tree.digest()
        assert what_strategies_see(other) == what_strategies_see(tree)


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 2**32), reference=st.sampled_from(["", "d0"]), batch=st.sampled_from([1, 3, 64]))
def test_every_prefix_replays_and_a_restored_tree_goes_on_as_the_one_that_was_saved(
    seed: int, reference: str, batch: int
) -> None:
    with patch.object(ranking, "_BATCH", batch):
        replays_and_restores_as_it_lived(seed, reference)


def replays_and_restores_as_it_lived(seed: int, reference: str) -> None:
    tree, events = live(seed, 60, (6, 3, 1), reference)
    lived = EvolutionTree(RelativeFitness())
    for n, event in enumerate(events, start=1):
        lived.apply(event)
        replayed = EvolutionTree(RelativeFitness())
        replayed.replay(events[:n])
        restored = EvolutionTree.from_snapshot(json.loads(json.dumps(lived.to_snapshot())), RelativeFitness())
        assert replayed.digest() == restored.digest() == lived.digest()
        assert what_strategies_see(replayed) == what_strategies_see(restored) == what_strategies_see(lived)
        for other in (replayed, restored):
            for later in events[n:]:
                other.apply(later)
            assert other.digest() == tree.digest() and what_strategies_see(other) == what_strategies_see(tree)


def test_a_replay_that_is_refused_leaves_what_came_before_with_its_orders() -> None:
    _, events = live(3, 60, (6, 3, 1), "d0")
    tree, lived = EvolutionTree(RelativeFitness()), EvolutionTree(RelativeFitness())
    with pytest.raises(BookkeepingError, match="has started in this journal"):
        tree.replay([*events, events[0], RunDraining(reason="never read")])
    for event in events:
        lived.apply(event)
    assert tree.digest() == lived.digest() and what_strategies_see(tree) == what_strategies_see(lived)


@pytest.mark.parametrize("n_later", [0, 200])
def test_a_result_that_cannot_be_rated_is_refused_by_a_replay(n_later: int) -> None:
    run = LongRun(n_later + 1)
    events = [run.start(), *(event for i in range(n_later + 1) for event in run.life(i))]
    k, spoilt = next((k, event) for k, event in enumerate(events) if isinstance(event, VerificationRecorded))
    events[k] = replace(spoilt, metrics={"test_bpb": 2.0})
    with pytest.raises(BookkeepingError, match="under lease 1: metric 'unigram_bpb' is None; expected above 0"):
        EvolutionTree(RelativeFitness()).replay(events)
    assert gc.isenabled()


def replay_sees_what_life_saw(events: list[Event]) -> None:
    lived, replayed = EvolutionTree(RelativeFitness()), EvolutionTree(RelativeFitness())
    for event in events:
        lived.apply(event)
    replayed.replay(events)
    restored = EvolutionTree.from_snapshot(json.loads(json.dumps(lived.to_snapshot())), RelativeFitness())
    assert what_strategies_see(lived) == what_strategies_see(replayed) == what_strategies_see(restored)


def test_a_runs_metrics_are_packed_however_the_tree_came_about() -> None:
    lived, replayed = EvolutionTree(RelativeFitness()), EvolutionTree(RelativeFitness())
    long = LongRun(80)  # more than a batch
    events = [long.start(), *(event for i in range(80) for event in long.life(i))]
    for event in events:
        lived.apply(event)
    replayed.replay(events)
    restored = EvolutionTree.from_snapshot(lived.to_snapshot(), RelativeFitness())
    for tree in (lived, replayed, restored):
        assert {type(run.metrics) for record in tree for run in record.runs} == {PackedMetrics}


def proposed_and_implemented(*designs: str) -> list[Event]:
    found: list[Event] = [RunStarted(
        run="r", scales=("small", "large"), quotas=(3, 2), reference="ref", config={"replicate_quotas": {"small": 5}}
    )]  # fmt: skip
    for design in designs:
        found.append(DesignProposed(design=design, name=design, program="p", operator="seed"))
        if design != "ref":
            found.append(DesignImplemented(design=design))
    return found


def verified(lease: int, design: str, seed: int, *, recall: bool = True, bpb: float = 2.0) -> list[Event]:
    what: dict[str, Any] = {"lease": lease, "design": design, "scale": "small", "seed": seed}
    metrics = metrics_for(bpb, recall=recall)
    return [LeaseGranted(holder="h", **what), VerificationRecorded(metrics=metrics, report="r", **what)]


def test_a_niche_that_changes_beside_a_replicate_of_the_reference_is_one_niche() -> None:
    events = [*proposed_and_implemented("ref", "x"), DesignImplemented(design="ref")]
    runs = [("ref", 0, False), ("x", 0, True), ("x", 1, False), ("ref", 1, False), ("x", 2, True)]
    for lease, (design, seed, recall) in enumerate(runs, start=1):
        events += verified(lease, design, seed, recall=recall)
    replay_sees_what_life_saw(events)


@pytest.mark.parametrize("end", ["rejected", "twin"])
def test_whoever_waits_is_ordered_anew_when_the_reference_fails_its_check(end: str) -> None:
    events = proposed_and_implemented("ref", "x", "y")
    events += [*verified(1, "x", 0, bpb=0.1), *verified(2, "y", 0, bpb=0.9)]
    if end == "rejected":
        events.append(DesignRejected(design="ref", findings=({"rule": "shape"},)))
    else:
        events.append(DesignTwinned(design="ref", inherited_from="x"))
    replay_sees_what_life_saw(events)


def test_a_replicate_needs_its_first_run() -> None:
    tree = EvolutionTree(RelativeFitness())
    for event in proposed_and_implemented("x"):
        tree.apply(event)
    lease = LeaseGranted(lease=1, design="x", scale="small", holder="h", seed=1)
    with pytest.raises(BookkeepingError, match="expected its first run there before a replicate"):
        tree.apply(lease)
    assert not tree.leases and tree.ledger.account("small", replicates=True).used == 0


def audit(tree: EvolutionTree) -> None:
    """What must hold of any books."""
    runs = [run for r in tree for run in r.runs]
    leased = [lease.cost for lease in tree.leases.values()]
    assert tree.budget.reserved == tuple(map(sum, zip(*leased, strict=True))) if leased else (0, 0, 0)
    assert tree.budget.spent.runs == len(runs) and tree.budget.spent.n_tokens >= sum(run.n_tokens for run in runs)
    sane = [r for r in tree if r.state not in ("proposed", "rejected", "twin")]
    for found, name in ((tree.by_fingerprint, "fingerprint"), (tree.by_normal_form, "normal_form")):
        first_of = {getattr(r, name): r.id for r in reversed(sane)}
        assert dict(found) == {value: design for value, design in first_of.items() if value}
    assert all(tree.record(r.inherited_from).state != "twin" and not r.runs for r in tree if r.state == "twin")
    assert len(tree.commits) == sum(run.seed == 0 and run.outcome == "committed" for run in runs)
    committed = [(r.id, run.scale, run.seed, run.recipe) for r in tree for run in r.runs]
    assert len(committed) == len(set(committed)), "a key was settled twice"
    assert not set(committed) & {tuple(lease.key) for lease in tree.leases.values()}, "a settled key is out on lease"
    for k, scale in enumerate(tree.scales):
        account = tree.ledger.account(scale)
        runs = [run for r in tree for run in r.runs if run.scale == scale and run.seed == 0]
        out = [lease for lease in tree.leases.values() if lease.scale == scale and lease.seed == 0]
        assert (account.finished, account.reserved) == (len(runs), len(out)) and account.used <= account.quota
        assert set(tree.running(scale)) == {x.design for x in tree.leases.values() if x.scale == scale}
        ready = {
            r.id for r in tree if r.state in ("implemented", "verified") and r.first_run(scale) is None
            and (k == 0 or ((first := r.first_run(tree.scales[k - 1])) is not None and first.outcome == "committed"))
        }  # fmt: skip
        assert set(tree.waiting(scale)) == ready - {lease.design for lease in out}
    assert set(tree.records) == {d for state in DesignState for d in tree.in_state(state)}


def what_strategies_see(tree: EvolutionTree) -> Any:
    population = tree.population()
    return (
        list(population.rated),
        list(population.eligible),
        population.seeds,
        [list(population.unverified(scale)) for scale in tree.scales],
        [list(population.at(scale)) for scale in tree.scales],
        {niche: list(views) for niche, views in population.by_niche().items()},
        [{n: list(r) for n, r in tree.ratings.niches_by_scale[s].items() if len(r)} for s in tree.scales],
        list(tree.ratings.standing),
        (population.n_implemented, population.n_verified, tree.n_pending_seeds),
        [list(population.children(design)) for design in tree.records],
        (list(tree.commits), dict(tree.by_fingerprint), dict(tree.by_normal_form)),
        (tree.budget.spent, tree.budget.reserved, tree.caps),
    )


def test_a_whole_evolution_replays() -> None:
    events: list[Event] = []
    tree = start_tree(quotas=(30, 8, 3), reference="design-0", events=events)
    climb(
        tree, SuccessiveHalving(), n_designs=35, n_verifiers=4, rng=Random(0), p_refund=0.1, p_fail=0.1, events=events
    )
    audit(tree)
    again = EvolutionTree(RelativeFitness())
    for event in events:
        again.apply(event)
    assert again.digest() == tree.digest() and what_strategies_see(again) == what_strategies_see(tree)


def test_a_lease_that_keeps_dying_ends_as_poison() -> None:
    tree = start_tree(quotas=(2, 1))
    add_design(tree, "a")
    for number in (1, 2, 3):
        tree.apply(LeaseGranted(lease=number, design="a", scale="small", holder="h"))
        tree.apply(LeaseRefunded(lease=number, cause="killed"))
    assert tree.record("a").state is DesignState.POISON and tree.counters["poison"] == 1
    assert tree.ledger.account("small").failed == 1, "its quota stays spent"
    with pytest.raises(BookkeepingError, match="is poison; expected implemented or verified"):
        tree.apply(LeaseGranted(lease=4, design="a", scale="small", holder="h"))


def test_orderly_stops_never_poison() -> None:
    tree = start_tree(quotas=(2, 1))
    add_design(tree, "a")
    for number in range(1, 8):
        tree.apply(LeaseGranted(lease=number, design="a", scale="small", holder="h"))
        tree.apply(LeaseRefunded(lease=number, cause="stopped"))
    assert tree.record("a").state is DesignState.IMPLEMENTED and tree.ledger.account("small").used == 0


def _tree_with_lease() -> EvolutionTree:
    tree = start_tree(quotas=(2, 1))
    add_design(tree, "a")
    add_design(tree, "b")
    tree.apply(DesignProposed(design="c", name="c", program="c", operator="scratch"))
    tree.apply(LeaseGranted(lease=5, design="a", scale="small", holder="h"))
    return tree


@pytest.mark.parametrize(
    ("event", "message"),
    [
        (RunStarted(run="x", scales=("a",), quotas=(1,)), "has started in this journal"),
        (DesignProposed(design="a", name="a", program="a", operator="scratch"), "it exists; expected a new id"),
        (DesignProposed(design="z", name="z", program="z", operator="mutation", parents=("q",)), "has none of that id"),
        (DesignImplemented(design="a"), "it is implemented; expected proposed"),
        (DesignRejected(design="q", findings=()), "has none of that id"),
        (LeaseGranted(lease=5, design="b", scale="small", holder="h"), "numbers only rise; expected above 5"),
        (LeaseGranted(lease=6, design="a", scale="small", holder="h"), "it is reserved already"),
        (LeaseGranted(lease=6, design="c", scale="small", holder="h"), "is proposed; expected implemented"),
        (LeaseGranted(lease=6, design="b", scale="middle", holder="h"), "expected no rung skipped"),
        (LeaseGranted(lease=6, design="b", scale="huge", holder="h"), "Cannot find scale 'huge'"),
        (LeaseRefunded(lease=4, cause="killed"), "it is not outstanding"),
        (VerificationFailed(lease=9, design="a", scale="small", cause="error"), "it is not outstanding"),
        (
            VerificationRecorded(lease=5, design="b", scale="small", metrics={}, report="r"),
            "expected the result of that",
        ),
        (
            VerificationRecorded(lease=5, design="a", scale="small", metrics={"test_bpb": float("inf")}, report="r"),
            "metric 'test_bpb' is inf; expected a finite number",
        ),
        (VerificationRecorded(lease=5, design="a", scale="small", metrics={}, report="r"), "metric 'test_bpb' is None"),
    ],
)
def test_what_would_break_a_law_is_refused_by_name(event: Event, message: str) -> None:
    tree = _tree_with_lease()
    before = tree.digest()
    with pytest.raises(BookkeepingError, match=message):
        tree.apply(event)
    assert tree.digest() == before


def test_nothing_comes_before_the_start() -> None:
    with pytest.raises(BookkeepingError, match="the run has not started"):
        EvolutionTree(RelativeFitness()).apply(RunFinished(reason="x"))


def test_a_late_commit_of_a_refunded_lease_is_fenced() -> None:
    tree = _tree_with_lease()
    tree.apply(LeaseRefunded(lease=5, cause="killed"))
    tree.apply(LeaseGranted(lease=6, design="a", scale="small", holder="other"))
    late = VerificationRecorded(lease=5, design="a", scale="small", metrics=metrics_for(0.9), report="late")
    with pytest.raises(BookkeepingError, match="it is not outstanding"):
        tree.apply(late)
    assert not tree.record("a").runs


def test_a_draining_run_takes_results_but_grants_nothing() -> None:
    tree = _tree_with_lease()
    tree.apply(RunDraining(reason="asked to stop"))
    with pytest.raises(BookkeepingError, match="takes no new work"):
        tree.apply(LeaseGranted(lease=6, design="b", scale="small", holder="h"))
    tree.apply(VerificationRecorded(lease=5, design="a", scale="small", metrics=metrics_for(0.5), report="r"))
    tree.apply(RunResumed())
    tree.apply(LeaseGranted(lease=6, design="b", scale="small", holder="h"))
    assert set(tree.leases) == {6}


def test_a_snapshot_of_another_version_is_refused() -> None:
    with pytest.raises(BookkeepingError, match="snapshot of version 99"):
        EvolutionTree.from_snapshot({"version": 99}, RelativeFitness())


def test_views_hold_what_the_journal_says() -> None:
    tree = start_tree(reference="a")
    add_design(tree, "a", is_seed=True)
    add_design(tree, "b", parents=("a",))
    verify(tree, "a", "small", 0.5)
    verify(tree, "b", "small", 0.9)
    verify(tree, "b", "middle", 0.9)
    view = tree.population().get("b")
    assert (view.name, view.parents, view.operator, view.is_seed) == ("name of b", ("a",), "mutation", False)
    assert (view.rung, view.confidence, view.niche, view.order) == (1, 1 + 1 + 1 + 2, "recall", 1)
    assert set(view.fitness) == {"small"}, "at 'middle' the reference is not measured yet"
    assert view.best == view.fitness["small"]
    assert [child.id for child in tree.population().children("a")] == ["b"]


def test_a_twin_is_recorded_whole_and_waits_for_nothing() -> None:
    tree = start_tree(quotas=(4, 2, 1))
    add_design(tree, "a")
    proposed = DesignProposed(
        design="b", name="b", program="p", operator="mutation", parents=("a",), is_seed=True, steps={"tree": 1.0}
    )
    tree.apply(proposed)
    assert tree.n_pending_seeds == 1
    twinned = DesignTwinned(
        design="b",
        inherited_from="a",
        fingerprint="f",
        checker="9",
        sizes={"small": {"d": 8}},
        steps={"behaviour": 0.0},
    )
    tree.apply(twinned)
    record = tree.record("b")
    assert (record.state, record.inherited_from, record.fingerprint, record.checker) == ("twin", "a", "f", "9")
    assert record.sizes == {"small": {"d": 8}} and record.steps == {"tree": 1.0, "behaviour": 0.0}
    assert tree.n_pending_seeds == 0 and "b" not in tree.waiting("small")
    refused = DesignTwinned(design="b", inherited_from="a")
    with pytest.raises(BookkeepingError, match="it is twin; expected proposed"):
        tree.apply(refused)


def test_a_seed_that_is_rejected_is_waited_for_no_more() -> None:
    tree = start_tree(quotas=(4, 2, 1))
    tree.apply(DesignProposed(design="b", name="b", program="p", operator="seed", is_seed=True))
    tree.apply(DesignRejected(design="b", findings=()))
    assert tree.n_pending_seeds == 0


@pytest.mark.parametrize("outcome", ["failed", "poison"])
def test_a_run_that_ended_badly_is_recorded_whole(outcome: str) -> None:
    tree = start_tree(quotas=(4, 2, 1))
    add_design(tree, "a")
    verify(tree, "a", "small", 0.5)
    cost = {"n_tokens": 7, "gpu_seconds": 3.0}
    n_deaths = 3 if outcome == "poison" else 1
    for lease in range(2, 2 + n_deaths):
        tree.apply(LeaseGranted(lease=lease, design="a", scale="middle", holder="v", recipe="r", **cost))
        if outcome == "poison":
            tree.apply(LeaseRefunded(lease=lease, cause="killed", reason="why", seconds=4.0, **cost))
    if outcome == "failed":
        key = {"lease": 2, "design": "a", "scale": "middle", "recipe": "r"}
        tree.apply(VerificationFailed(**key, cause="killed", reason="why", seconds=4.0, **cost))
    record = tree.record("a")
    last = record.runs[-1]
    assert record.state == outcome and tree.counters["poison"] == (outcome == "poison")
    assert (last.scale, last.seed, last.recipe, last.outcome, last.lease) == ("middle", 0, "r", outcome, lease)
    assert (last.cause, last.reason, last.seconds, last.n_tokens, last.gpu_seconds) == ("killed", "why", 4.0, 7, 3.0)
    assert tree.budget.spent.n_tokens == 7 * n_deaths and tree.budget.reserved == (0, 0, 0)
    assert tree.ledger.account("middle").failed == 1
    assert not any("a" in tree.waiting(scale) for scale in tree.scales)
