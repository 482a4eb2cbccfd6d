"""What each promotion policy promises, and what holds around all of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from fractions import Fraction
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from genesys.errors import ConfigError
from genesys.evolution import EvolutionTree
from genesys.evolution.design import DesignState
from genesys.evolution.events import Event, LeaseGranted, VerificationFailed, VerificationRecorded
from genesys.evolution.population import Population
from genesys.evolution.promotion import (
    PROMOTIONS,
    Decline,
    Finished,
    Hurdle,
    MedianStopping,
    Promotion,
    PromotionStrategy,
    SuccessiveHalving,
    Verify,
    Wait,
    decide,
    resolve_promotion,
)
from genesys.evolution.promotion.replicates import next_replicate
from genesys.ladder.ledger import RunKey
from genesys.testing import PromotionStrategyTestCase, add_design, climb, metrics_for, start_tree, verify
from genesys.testing.strategies import assert_spent_or_declined


class TestHurdle(PromotionStrategyTestCase):
    @pytest.fixture
    def strategy(self) -> PromotionStrategy:
        return Hurdle()


class TestHurdleOfAQuantile(PromotionStrategyTestCase):
    @pytest.fixture
    def strategy(self) -> PromotionStrategy:
        return Hurdle(quantile=0.75)


class TestStrictHurdle(PromotionStrategyTestCase):
    @pytest.fixture
    def strategy(self) -> PromotionStrategy:
        return Hurdle(margin=0.5, leftover="unspent")


class TestMedianStopping(PromotionStrategyTestCase):
    @pytest.fixture
    def strategy(self) -> PromotionStrategy:
        return MedianStopping()


class TestStrictMedianStopping(PromotionStrategyTestCase):
    @pytest.fixture
    def strategy(self) -> PromotionStrategy:
        return MedianStopping(leftover="unspent")


STRATEGIES = [factory() for factory in PROMOTIONS.values()]
STRICT = (Hurdle(margin=0.2, leftover="unspent"), MedianStopping(leftover="unspent"))


def measured(*qualities: float, quotas: tuple[int, ...] = (10, 4, 2), reference: str = "") -> EvolutionTree:
    """Designs a, b, c, ... measured on the first rung; the first is the reference if there is one."""
    tree = start_tree(quotas=quotas, reference=reference)
    for name, quality in zip("abcdefghij", qualities, strict=False):
        add_design(tree, name, is_seed=name == reference)
        verify(tree, name, "small", quality)
    return tree


def start(tree: EvolutionTree, strategy: PromotionStrategy) -> object:
    return decide(tree, strategy, Random(0), proposals_open=False)


# --- hurdle ------------------------------------------------------------------------------------------------


def test_a_hurdle_lets_pass_whoever_beats_the_reference_and_no_rank_is_asked() -> None:
    tree = measured(0.5, 0.6, 0.7, 0.4, reference="a")
    for scale in ("middle", "large"):
        verify(tree, "a", scale, 0.5)
    for expected in ("c", "b"):
        decision = start(tree, Hurdle(leftover="unspent"))
        assert isinstance(decision, Verify) and (decision.design, decision.scale) == (expected, "middle")
        assert "cleared the bar: fitness +" in decision.reason
        verify(tree, expected, "middle", 0.6)
    decision = start(tree, Hurdle(leftover="unspent"))
    assert (
        isinstance(decision, Verify) and decision.scale == "large"
    )  # the reference goes on; nobody else does at middle


def test_what_nobody_clears_the_bar_for_goes_to_the_best_or_to_nobody() -> None:
    tree = start_tree(quotas=(3, 2), reference="a")
    for name, quality in (("a", 0.5), ("b", 0.3), ("c", 0.4)):
        add_design(tree, name, is_seed=name == "a")
        verify(tree, name, "small", quality, recall=name == "a")
    verify(tree, "a", "middle", 0.5)
    best = start(tree, Hurdle())
    assert (
        isinstance(best, Verify) and best.design == "c" and best.reason == "nothing else can come: the best that waits"
    )
    ended = start(tree, Hurdle(leftover="unspent"))
    assert ended == Finished(
        reason="no design that waits clears the bar: the reference's fitness; the quota left at middle stays unspent"
    )
    higher = start(tree, Hurdle(margin=5.0, leftover="unspent"))
    assert isinstance(higher, Finished) and "the bar: 5 above the reference's fitness;" in higher.reason


def test_a_declined_rung_does_not_hold_up_those_above_it() -> None:
    """Two climbed to the middle and one of them may go on, though the rest of the middle stays unspent."""
    tree = start_tree(quotas=(6, 4, 2))
    for name, quality in zip("abcdef", (0.9, 0.8, 0.1, 0.1, 0.1, 0.1), strict=True):
        add_design(tree, name)
        verify(tree, name, "small", quality, recall=False)
    for name in "ab":
        verify(tree, name, "middle", 0.8, recall=False)
    strict = Hurdle(quantile=0.7, leftover="unspent")
    for expected in ("a", "b"):
        decision = start(tree, strict)
        assert isinstance(decision, Verify) and (decision.design, decision.scale) == (expected, "large"), decision
        verify(tree, expected, "large", 0.8, recall=False)
    ended = start(tree, strict)
    assert isinstance(ended, Finished) and "quota left at middle stays unspent" in ended.reason


def test_a_strategy_that_declines_waits_while_better_may_come() -> None:
    tree = measured(0.5, 0.3, 0.2, reference="a", quotas=(4, 3))
    verify(tree, "a", "middle", 0.5)
    decision = decide(tree, Hurdle(leftover="unspent"), Random(0), proposals_open=True)
    assert isinstance(decision, Wait) and "clears the bar" in decision.reason


class DeclinesAll:
    def promote(
        self, population: Population, openings: Mapping[str, int], *, rng: Random
    ) -> Promotion | Decline | None:
        return Decline(reason="nobody, ever")


def test_the_first_rung_cannot_be_declined() -> None:
    tree = start_tree(quotas=(5, 3, 2))
    reason = climb(tree, DeclinesAll(), n_designs=7, rng=Random(0))
    assert tree.ledger.account("small").committed == 5 and "nobody, ever; the quota left at" in reason


# --- median ------------------------------------------------------------------------------------------------


def test_the_median_stops_the_lower_half_unless_it_was_good_before() -> None:
    tree = measured(0.9, 0.6, 0.5, 0.4, 0.1, quotas=(5, 5, 5))
    strict = MedianStopping(leftover="unspent")
    for expected in ("a", "b", "c"):
        decision = start(tree, strict)
        assert isinstance(decision, Verify) and (decision.design, decision.scale) == (expected, "middle")
        tree.apply(LeaseGranted(lease=tree.last_lease + 1, design=expected, scale="middle", holder="v"))
    assert isinstance(start(tree, strict), Wait)
    for lease, quality in zip(tuple(tree.leases.values()), (0.1, 0.5, 0.6), strict=True):
        result = metrics_for(quality)
        tree.apply(
            VerificationRecorded(lease=lease.lease, design=lease.design, scale="middle", metrics=result, report="r")
        )
    best, behind = tree.population().get("a"), tree.population().get("d")
    population = tree.population()
    assert "best fitness" in strict.standing(population, behind, "middle")
    climbing = start(tree, strict)
    assert isinstance(climbing, Verify) and climbing.scale == "large"
    population = tree.population()
    assert best.fitness["middle"].value < population.at("middle")[1].fitness["middle"].value
    taken = strict.promote(population, {"large": 3}, rng=Random(0))
    assert isinstance(taken, Promotion) and taken.design == "c"
    for name in ("c", "b"):
        verify(tree, name, "large", 0.5)
    carried = start(tree, strict)  # below the median at middle, yet the best of all at small
    assert isinstance(carried, Verify) and (carried.design, carried.scale) == ("a", "large")


def test_options_that_cannot_be_are_refused() -> None:
    for name, options, said in (
        ("hurdle", {"quantile": 2}, "quantile is 2"),
        ("hurdle", {"leftover": "lost"}, "leftover is 'lost'"),
        ("median", {"leftover": "lost"}, "expected 'best' or 'unspent'"),
        (
            "hurdle",
            {"margn": 1},
            "of promotion strategy 'hurdle'; expected margin, quantile, leftover. Did you mean 'margin'",
        ),
        ("hurdle", {"rates": 1}, "Cannot use option 'rates' of promotion strategy"),
        ("hurdle", {"quantile": "a"}, "option quantile = 'a' of .*: expected a number"),
    ):
        with pytest.raises(ConfigError, match=said):
            resolve_promotion(name, options)


# --- what holds for all of them ----------------------------------------------------------------------------


@settings(max_examples=120, deadline=None)
@given(
    strategy=st.sampled_from([*STRATEGIES, *STRICT, DeclinesAll()]),
    recalls=st.lists(st.booleans(), min_size=1, max_size=22),
    n_verifiers=st.integers(1, 6),
    p_fail=st.sampled_from([0.0, 0.3]),
    seed=st.integers(0, 2**32),
)
def test_a_recall_capable_design_survives_every_rung(
    strategy: PromotionStrategy, recalls: list[bool], n_verifiers: int, p_fail: float, seed: int
) -> None:
    """Whatever the policy: where one other than the reference stood on a rung to the end, one was tried on the next."""
    tree, rng, tried = start_tree(quotas=(22, 6, 2), reference="0"), Random(seed), set[tuple[str, str]]()
    for i, _ in enumerate(recalls):
        add_design(tree, str(i), is_seed=i == 0)
    while True:
        decision = decide(tree, strategy, rng, proposals_open=False)
        if isinstance(decision, Finished):
            break
        if isinstance(decision, Verify) and len(tree.leases) < n_verifiers:
            tried.add((decision.design, decision.scale))
            lease = tree.last_lease + 1
            tree.apply(LeaseGranted(lease=lease, design=decision.design, scale=decision.scale, holder="v"))
            continue
        lease = tree.leases[rng.choice(sorted(tree.leases))]
        what = {"lease": lease.lease, "design": lease.design, "scale": lease.scale}
        if rng.random() < p_fail:
            tree.apply(VerificationFailed(**what, cause="diverged"))
        else:
            metrics = metrics_for(rng.random(), recall=recalls[int(lease.design)])
            tree.apply(VerificationRecorded(**what, metrics=metrics, report="r"))
    capable = {str(i) for i, recall in enumerate(recalls) if recall and i}
    for below, scale in zip(tree.scales, tree.scales[1:], strict=False):
        stood = {d for d in capable if tree.record(d).committed(below) and tree.record(d).state is DesignState.VERIFIED}
        assert not stood or any((design, scale) in tried for design in capable), f"{stood} and nobody tried at {scale}"


@settings(max_examples=80, deadline=None)
@given(
    strategy=st.sampled_from(STRICT), n_designs=st.integers(0, 25), n_verifiers=st.integers(1, 6),
    seed=st.integers(0, 2**32),
)  # fmt: skip
def test_a_strict_policy_ends_with_the_true_reason(
    strategy: PromotionStrategy, n_designs: int, n_verifiers: int, seed: int
) -> None:
    tree = start_tree(quotas=(16, 6, 2), reference="design-0")
    reason = climb(tree, strategy, n_designs=n_designs, n_verifiers=n_verifiers, rng=Random(seed))
    assert tree.ledger.account("small").committed == min(16, n_designs)
    if "stays unspent" in reason:
        assert_spent_or_declined(tree, reason)
        named = reason.rpartition("the quota left at ")[2].removesuffix(" stays unspent").split(" and ")
        assert all(tree.ledger.account(scale).left and len(tree.waiting(scale)) for scale in named)
    else:
        for below, scale in zip(tree.scales, tree.scales[1:], strict=False):
            quota = tree.ledger.account(scale).quota
            assert tree.ledger.account(scale).committed == min(quota, tree.ledger.account(below).committed)


def test_rungs_open_in_proportion_from_an_empty_tree_to_the_top() -> None:
    """The reference implementation counts only scales that have a result, and so never climbs by itself; ours opens the
    next rung at the first result below, and is never ahead of the quotas' ratios by more than one run."""
    quotas = (40, 16, 6, 2)
    events: list[Event] = []
    tree = start_tree(quotas=quotas, events=events)
    assert [tree.ledger.released(scale) for scale in tree.scales] == [40, 0, 0, 0]
    assert climb(tree, SuccessiveHalving(), n_designs=40, n_verifiers=4, rng=Random(3), events=events)
    finished, granted, opened_at = Counter[str](), Counter[str](), dict[str, int]()
    for event in events:
        if isinstance(event, VerificationRecorded | VerificationFailed):
            finished[event.scale] += 1
        if not isinstance(event, LeaseGranted):
            continue
        granted[event.scale] += 1
        k = tree.scales.index(event.scale)
        if k:
            below = tree.scales[k - 1]
            opened_at.setdefault(event.scale, finished[below])
            assert granted[event.scale] <= -(-Fraction(quotas[k], quotas[k - 1]) * finished[below] // 1)
    assert tree.ledger.is_spent() and opened_at[tree.scales[1]] <= 4


@pytest.mark.parametrize("quota", [1, 2])
def test_replicates_go_to_the_finalists_best_first(quota: int) -> None:
    tree = start_tree(quotas=(6, quota), training_seeds=2)
    for i, quality in enumerate((0.2, 0.9, 0.5)):
        add_design(tree, f"d{i}")
        verify(tree, f"d{i}", "small", quality)
    for name in ("d1", "d2")[:quota]:
        verify(tree, name, "middle", 0.5 if name == "d1" else 0.8)
    order = []
    while isinstance(decision := start(tree, SuccessiveHalving()), Verify):
        order.append((decision.design, decision.scale, decision.seed))
        verify_replicate(tree, decision)
    finalists = [("d2", "middle", 1), ("d1", "middle", 1)][-quota:]
    assert order == [*finalists, ("d1", "small", 1), ("d2", "small", 1), ("d0", "small", 1)]


@settings(max_examples=60, deadline=None)
@given(
    training_seeds=st.integers(2, 3), n_verifiers=st.integers(1, 5), p_refund=st.sampled_from([0.0, 0.3]),
    p_fail=st.sampled_from([0.0, 0.2]), seed=st.integers(0, 2**32),
)  # fmt: skip
def test_the_next_replicate_is_the_same_after_a_restart(
    training_seeds: int, n_verifiers: int, p_refund: float, p_fail: float, seed: int
) -> None:
    """What is kept from call to call changes no answer: at every event it equals a scan of all."""
    events: list[Event] = []
    tree = start_tree(quotas=(6, 3), reference="design-0", training_seeds=training_seeds, events=events)
    climb(
        tree, SuccessiveHalving(), n_designs=7, n_verifiers=n_verifiers, rng=Random(seed), p_refund=p_refund, p_fail=p_fail,
        events=events,
    )  # fmt: skip
    again = EvolutionTree(tree.rule)
    for event in events:
        again.apply(event)
        assert next_replicate(again) == _scanned(again, training_seeds)


def _scanned(tree: EvolutionTree, n_seeds: int) -> RunKey | None:
    for scale in reversed(tree.scales):
        for design in tree.ratings.by_scale[scale]:
            keys = [RunKey(design, scale, seed) for seed in range(1, n_seeds)]
            free = [key for key in keys if tree.ledger.state(key) is None]
            if free and tree.record(design).state is DesignState.VERIFIED and tree.record(design).first_run(scale):
                return free[0]
    return None


def verify_replicate(tree: EvolutionTree, decision: Verify) -> None:
    key = {"lease": tree.last_lease + 1, "design": decision.design, "scale": decision.scale, "seed": decision.seed}
    tree.apply(LeaseGranted(**key, holder="v"))
    metrics = tree.record(decision.design).committed(decision.scale)[0].metrics
    tree.apply(VerificationRecorded(**key, metrics=metrics, report="r"))
