"""The blocked order against a plain sorted list, with blocks so small that they split and merge all the time."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random
from unittest.mock import patch

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from genesys.evolution import order
from genesys.evolution.order import Ranking

ids = st.sampled_from([f"d{i}" for i in range(40)])
keys = st.tuples(st.sampled_from([0.0, 0.5, 1.0, 2.0]), st.integers(0, 2))


class PlainOrder(RuleBasedStateMachine):
    """What a `Ranking` does, done with a dictionary that is sorted whenever somebody looks."""

    def __init__(self) -> None:
        super().__init__()
        self.small = patch.object(order, "_BLOCK", 4)
        self.small.start()
        self.ranking, self.plain = Ranking(), dict[str, tuple[float, ...]]()

    def teardown(self) -> None:
        self.small.stop()

    def expected(self) -> list[str]:
        return sorted(self.plain, key=lambda item: (self.plain[item], item), reverse=True)

    @rule(item=ids, key=keys)
    def put(self, item: str, key: tuple[float, ...]) -> None:
        self.ranking.put(item, key)
        self.plain[item] = key

    @rule(items=st.lists(ids, max_size=12))
    def discard(self, items: list[str]) -> None:
        for item in items:
            self.ranking.discard(item)
            self.plain.pop(item, None)

    @rule(n=st.integers(0, 5))
    def take_the_best(self, n: int) -> None:
        for _ in range(min(n, len(self.plain))):
            best = self.ranking[0]
            assert best == self.expected()[0]
            self.ranking.discard(best)
            del self.plain[best]

    @rule(keys=st.dictionaries(ids, keys, max_size=12))
    def fill(self, keys: dict[str, tuple[float, ...]]) -> None:
        self.ranking.fill({item: (*key, item) for item, key in keys.items()})
        self.plain |= keys

    @rule()
    def look(self) -> None:
        expected = self.expected()
        assert list(self.ranking) == expected
        assert [self.ranking[i] for i in range(len(expected))] == expected
        assert [self.ranking[-1 - i] for i in range(len(expected))] == expected[::-1]

    @rule(item=ids)
    def ask(self, item: str) -> None:
        is_there = item in self.plain
        assert self.ranking.rank(item) == (self.expected().index(item) if is_there else None)
        assert self.ranking.key(item) == self.plain.get(item) and (item in self.ranking) == is_there

    @invariant()
    def as_many(self) -> None:
        assert len(self.ranking) == len(self.plain)


TestPlainOrder = PlainOrder.TestCase
TestPlainOrder.settings = settings(max_examples=40, stateful_step_count=50, deadline=None)


@pytest.fixture
def small_blocks() -> Iterator[None]:
    with patch.object(order, "_BLOCK", 8):
        yield


@pytest.mark.parametrize("n", [0, 1, 5])
def test_an_index_beyond_the_end_is_an_error(n: int) -> None:
    ranking = Ranking()
    for i in range(n):
        ranking.put(f"d{i}", (float(i),))
    for rank in (n, -n - 1):
        with pytest.raises(IndexError):
            ranking[rank]


@pytest.mark.usefixtures("small_blocks")
def test_blocks_stay_few_and_short_whatever_comes_and_goes() -> None:
    rng, ranking = Random(0), Ranking()
    for i in range(2000):
        ranking.put(f"d{i}", (rng.random(),))
    assert ranking.rank("d0") is not None
    for i in rng.sample(range(2000), 1900):
        ranking.discard(f"d{i}")
        ranking.put(f"late{i}", (rng.random(),))
        ranking.discard(f"late{i}")
    blocks = ranking._blocks
    assert blocks is not None and max(map(len, blocks)) <= 16
    assert len(blocks) <= 4 * 100 / 8 + 1, "what was removed leaves no small blocks behind"
