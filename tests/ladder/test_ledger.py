"""Laws 19 and 20 for the ledger alone."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from genesys.ladder.ledger import Account, BookkeepingError, Ledger, RunKey

VERBS = ("reserve", "commit", "fail", "refund")


@settings(max_examples=150, deadline=None)
@given(
    quotas=st.lists(st.integers(0, 4), min_size=1, max_size=3),
    replicates=st.integers(0, 2),
    steps=st.lists(
        st.tuples(st.sampled_from(VERBS), st.integers(0, 4), st.integers(0, 2), st.integers(0, 1)), max_size=80
    ),
)
def test_no_interleaving_overruns_a_quota_or_commits_twice(
    quotas: list[int], replicates: int, steps: list[tuple[str, int, int, int]]
) -> None:
    scales = [f"s{k}" for k in range(len(quotas))]
    ledger = Ledger(dict(zip(scales, quotas, strict=True)), dict.fromkeys(scales, replicates))
    finished: set[RunKey] = set()
    out: set[RunKey] = set()
    for verb, design, scale, seed in steps:
        key = RunKey(f"d{design}", scales[scale % len(scales)], seed)
        before = [ledger.account(s, replicates=r) for s in scales for r in (False, True)]
        try:
            getattr(ledger, verb)(key)
        except BookkeepingError:
            assert [ledger.account(s, replicates=r) for s in scales for r in (False, True)] == before
            assert not (verb != "reserve" and key in out), "a reservation could not be closed"
            continue
        assert (key in out) == (verb != "reserve") and key not in finished
        if verb == "reserve":
            out.add(key)
        else:
            out.discard(key)
        if verb in ("commit", "fail"):
            finished.add(key)
    for name in scales:
        for is_replicate in (False, True):
            account = ledger.account(name, replicates=is_replicate)
            mine = {k for k in finished | out if k.scale == name and (k.seed != 0) == is_replicate}
            assert account.used == len(mine) <= account.quota
            assert account.reserved == len(mine & out)


def test_a_scale_opens_in_proportion_to_the_one_below() -> None:
    ledger = Ledger({"a": 16, "b": 5, "c": 2})
    opened = []
    for i in range(16):
        opened.append(ledger.released("b"))
        ledger.reserve(RunKey(f"d{i}", "a"))
        ledger.commit(RunKey(f"d{i}", "a"))
    assert opened == [0, 1, 1, 1, 2, 2, 2, 3, 3, 3, 4, 4, 4, 5, 5, 5] and ledger.released("b") == 5
    assert ledger.released("a") == 16 and ledger.released("c") == 0
    assert ledger.released("c", settled=["a", "b"]) == 2


def test_failures_open_the_next_scale_and_refunds_do_not() -> None:
    ledger = Ledger({"a": 2, "b": 1})
    ledger.reserve(RunKey("x", "a"))
    ledger.refund(RunKey("x", "a"))
    assert ledger.released("b") == 0 and ledger.account("a") == Account(quota=2)
    ledger.reserve(RunKey("x", "a"))
    ledger.fail(RunKey("x", "a"))
    assert ledger.released("b") == 1 and ledger.account("a") == Account(quota=2, failed=1)


def test_a_design_counts_once_per_scale_whatever_its_recipe() -> None:
    ledger = Ledger({"a": 5}, {"a": 1})
    ledger.reserve(RunKey("x", "a", 0, "lr=1"))
    with pytest.raises(BookkeepingError, match="under another recipe"):
        ledger.reserve(RunKey("x", "a", 0, "lr=2"))
    ledger.reserve(RunKey("x", "a", 1, "lr=2"))
    with pytest.raises(BookkeepingError, match="1 of 1 replicate runs are used"):
        ledger.reserve(RunKey("x", "a", 2))
    assert ledger.account("a").used == 1


def test_refusals_say_what_is_wrong() -> None:
    ledger = Ledger({"a": 1})
    with pytest.raises(BookkeepingError, match="Cannot find scale 'z'; the run has a"):
        ledger.reserve(RunKey("x", "z"))
    with pytest.raises(BookkeepingError, match="it is not reserved; expected a reservation"):
        ledger.commit(RunKey("x", "a"))
    ledger.reserve(RunKey("x", "a"))
    with pytest.raises(BookkeepingError, match="it is reserved already"):
        ledger.reserve(RunKey("x", "a"))
    with pytest.raises(BookkeepingError, match="1 of 1 runs are used; expected at least 1 left"):
        ledger.reserve(RunKey("y", "a"))
    ledger.commit(RunKey("x", "a"))
    with pytest.raises(BookkeepingError, match="it is committed; expected a reservation"):
        ledger.refund(RunKey("x", "a"))
    assert ledger.is_spent()


@pytest.mark.parametrize("end", ["commit", "fail"])
def test_a_replicate_that_ended_is_never_reserved_again(end: str) -> None:
    ledger, key = Ledger({"a": 2}, {"a": 2}), RunKey("d", "a", 1)
    ledger.reserve(key)
    getattr(ledger, end)(key)
    with pytest.raises(BookkeepingError, match="one run a key"):
        ledger.reserve(key)
    assert ledger.account("a", replicates=True).used == 1
