"""Runs with further training seeds: every design due them gets them, none more, and the ladder never waits for one."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from genesys.config import RunConfig, config_from_mapping
from genesys.errors import ConfigError
from genesys.evolution import DesignState
from genesys.evolution.events import Event, LeaseGranted
from genesys.evolution.promotion import PROMOTIONS, Finished, SuccessiveHalving, Verify, Wait, decide
from genesys.testing import add_design, climb, start_tree, verify

CLIMBING = (DesignState.IMPLEMENTED, DesignState.VERIFIED)


@settings(max_examples=150, deadline=None)
@given(
    shape=st.lists(st.integers(0, 8), min_size=1, max_size=4).map(lambda q: tuple(sorted(q, reverse=True))),
    training_seeds=st.integers(1, 4),
    n_verifiers=st.integers(1, 8),
    p_refund=st.sampled_from([0.0, 0.1]),
    p_fail=st.sampled_from([0.0, 0.2]),
    strategy=st.sampled_from([factory() for factory in PROMOTIONS.values()]),
    seed=st.integers(0, 2**32),
)
def test_each_design_gets_its_seeds_and_the_run_ends(
    shape: tuple[int, ...], training_seeds: int, n_verifiers: int, p_refund: float, p_fail: float, strategy, seed: int
) -> None:  # type: ignore[no-untyped-def]
    tree = start_tree(quotas=shape, reference="design-0", training_seeds=training_seeds)
    climb(
        tree, strategy, n_designs=shape[0] + 2, n_verifiers=n_verifiers, rng=Random(seed), p_refund=p_refund, p_fail=p_fail
    )  # fmt: skip
    assert not tree.leases
    for record in tree:
        for scale in tree.scales:
            seeds = [run.seed for run in record.runs if run.scale == scale]
            assert len(seeds) == len(set(seeds)) and set(seeds) <= set(range(training_seeds))
            if record.state in CLIMBING and record.committed(scale):
                assert set(seeds) == set(range(training_seeds))


def test_the_ladder_goes_before_replicates() -> None:
    events: list[Event] = []
    tree = start_tree(quotas=(6, 2), reference="design-0", training_seeds=3)
    climb(tree, SuccessiveHalving(), n_designs=6, n_verifiers=1, rng=Random(0), events=events)
    seeds = [event.seed for event in events if isinstance(event, LeaseGranted)]
    assert seeds == sorted(seeds, key=bool) and seeds.count(0) == 8 and len(seeds) == 24
    reasons = {event.reason for event in events if isinstance(event, LeaseGranted) and event.seed == 2}
    assert reasons == {"training seed 2, while nothing else may start"}


def test_a_run_is_not_finished_while_a_replicate_runs() -> None:
    tree = start_tree(quotas=(1,), training_seeds=2)
    add_design(tree, "a")
    verify(tree, "a", "small", 0.5)
    decision = decide(tree, SuccessiveHalving(), Random(0), proposals_open=False)
    assert isinstance(decision, Verify) and (decision.design, decision.seed) == ("a", 1)
    tree.apply(LeaseGranted(lease=2, design="a", scale="small", seed=1, holder="v"))
    waiting = decide(tree, SuccessiveHalving(), Random(0), proposals_open=False)
    assert isinstance(waiting, Wait) and "1 replicates still run" in waiting.reason
    assert not isinstance(decide(start_tree(quotas=(1,)), SuccessiveHalving(), Random(0)), Finished)


def test_a_configuration_says_where_and_how_many() -> None:
    config = config_from_mapping({"ladder": "cpu", "quotas": [4, 2, 1], "training_seeds": {"cpu-2": 3}})
    assert config.replicate_quotas() == {"cpu-1": 0, "cpu-2": 4, "cpu-3": 0}
    assert set(RunConfig().replicate_quotas().values()) == {0}
    with pytest.raises(ConfigError, match=r"training_seeds of scale 'cpu2'.*Did you mean 'cpu-2'"):
        config_from_mapping({"training_seeds": {"cpu2": 3}})
    with pytest.raises(ConfigError, match="0 seeds at scale 'cpu-1'; expected a whole number from 1"):
        config_from_mapping({"training_seeds": {"cpu-1": 0}})
