"""The simulator's schedules, its kill points, and that its audits see what they are there to see."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from genesys.evolution import BookkeepingError
from genesys.evolution.events import (
    DesignImplemented,
    Event,
    LeaseGranted,
    LeaseRefunded,
    ProposalFailed,
    RunFinished,
    RunResumed,
    VerificationRecorded,
    n_failed_in_a_row,
)
from genesys.testing.simulation import FAULTS, AuditError, Auditor, Outcome, Schedule, random_schedule, simulate, trace
from genesys.testing.simulation.disk import DiskJournal
from genesys.testing.simulation.granter import Granter
from genesys.testing.simulation.keeper import Keeper
from genesys.testing.simulation.session import started
from tests.evolution.schedules import campaign, live_through

SMALL = Schedule(seed=1, quotas=(6, 2, 1), n_verifiers=2)


def test_equal_schedules_go_alike() -> None:
    wild = replace(random_schedule(5), faults=FAULTS, max_faults=12, fault_gap=30.0)
    one, other = simulate(wild), simulate(wild)
    assert one == other and len(one.faults) > 3
    assert len(trace(one)) == len(one.entries) + len(one.faults)


@pytest.mark.parametrize("seed", range(25))
def test_the_books_balance_whatever_goes_wrong(seed: int) -> None:
    simulate(random_schedule(seed))


def test_a_design_handed_in_after_the_end_is_kept_for_a_session_to_come() -> None:
    kinds = [entry.event.kind for entry in simulate(random_schedule(70_013_391)).entries]
    assert kinds[-3:] == ["run_finished", "design_proposed", "design_implemented"]


def test_a_grant_that_the_tree_never_heard_of_is_forgotten() -> None:
    assert simulate(random_schedule(70_024_216)).reason == "every quota is spent"  # it went on for ever


@pytest.mark.parametrize("number", [70_031_975, 70_042_825])
def test_a_run_that_gave_up_stands_by_it(number: int) -> None:
    assert simulate(random_schedule(number)).reason == "no design is left that could spend a quota"


def test_a_driver_that_waits_for_what_was_never_written_ends() -> None:
    assert simulate(random_schedule(70_083_188)).reason == "no design is left that could spend a quota"


def test_giving_up_stands_until_the_run_is_taken_up_again() -> None:
    failed = ProposalFailed(designer="d", operator="mutation", reason="")
    sane = DesignImplemented(design="a")
    assert n_failed_in_a_row([failed, sane, failed], 2) == 1
    assert n_failed_in_a_row([failed, failed, sane], 2) == 2
    assert n_failed_in_a_row([failed, failed, sane, RunResumed(), failed], 2) == 1


@pytest.mark.slow
@pytest.mark.parametrize("block", range(10))
def test_a_thousand_schedules(block: int) -> None:
    found = live_through(1000 + 100 * block, 100)
    assert not found["broken"] and found["total"]["schedules"] == 100


@pytest.mark.campaign
@pytest.mark.timeout(0)
def test_a_hundred_thousand_schedules() -> None:
    assert campaign(7, 100_000, Path("runs/schedules.jsonl"), processes=2) == 0


def test_a_campaign_goes_on_where_it_stopped(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert campaign(3, 2, tmp_path / "log", processes=1) == 0
    assert "2 of 2, 0 broken" in capsys.readouterr().out
    assert campaign(3, 2, tmp_path / "log", processes=1) == 0
    printed = capsys.readouterr().out
    assert "2 of 2" not in printed and '"schedules": 2' in printed


@pytest.mark.parametrize("fault", FAULTS)
def test_each_fault_is_survived(fault: Any) -> None:
    outcome = simulate(replace(SMALL, faults=(fault,), max_faults=8, fault_gap=60.0))
    assert outcome.reason == "every quota is spent" and {name for _, name in outcome.faults} == {fault}


# --- kill points (decisions.md 21) -----------------------------------------------------------------------


def kill_points(schedule: Schedule, check: Callable[[Outcome, Outcome, int], None], *, every: int = 1) -> int:
    """Kill everything after each durable event in turn; gives how many points that were."""
    whole = simulate(schedule)
    points = range(1, len(whole.entries), every)
    for k in points:
        killed = simulate(schedule, kill_at=k)
        assert killed.n_sessions == whole.n_sessions + 1
        check(whole, killed, k)
    return len(points)


def free_run(whole: Outcome, killed: Outcome, k: int) -> None:
    """What stood in the journal stands there still, and the audits (in `simulate`) hold."""
    assert [entry.event for entry in killed.entries[:k]] == [entry.event for entry in whole.entries[:k]]
    assert killed.reason == whole.reason == "every quota is spent"


def closed_list(whole: Outcome, killed: Outcome, k: int) -> None:
    assert killed.commits == whole.commits


def free(seed: int) -> Schedule:
    return Schedule(seed=seed, quotas=(34, 12, 4), n_designers=2, n_verifiers=4)


def closed(seed: int) -> Schedule:
    """All designs are given and may run at every scale, so that nothing depends on who came first.

    Odd seeds have replicates, even ones failures: whether a replicate ran before its design failed a rung up is chance.
    """
    n = 15 if seed % 2 else 30
    return Schedule(
        seed=seed, quotas=(n, n, n), n_given=n, n_seeds=5, is_closed=True, training_seeds=1 + seed % 2, p_reject=0.2,
        p_fail=0.0 if seed % 2 else 0.1, p_killed=0.0, n_verifiers=4, n_designers=2,
    )  # fmt: skip


def test_killed_anywhere_it_loses_nothing() -> None:
    assert kill_points(free(1), free_run, every=16) > 10


def test_killed_anywhere_a_closed_list_measures_the_same() -> None:
    assert kill_points(closed(1), closed_list, every=16) > 10


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2])
def test_killed_after_each_event_it_loses_nothing(seed: int) -> None:
    assert kill_points(free(seed), free_run) >= 180


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2])
def test_killed_after_each_event_a_closed_list_measures_the_same(seed: int) -> None:
    assert kill_points(closed(seed), closed_list) >= 180


def test_a_closed_list_measures_the_same_under_any_faults() -> None:
    """All but deaths, three of which would make a run poison."""
    calm = simulate(closed(4))
    for seed in range(4):
        faults = (
            "tree-dies",
            "scheduler-dies",
            "driver-dies",
            "power-fails",
            "answer-lost",
            "comes-twice",
            "second-driver",
        )
        schedule = replace(closed(4), faults=faults, max_faults=10, fault_gap=100.0 + 40 * seed)
        wild = simulate(schedule)  # type: ignore[arg-type]
        assert wild.commits == calm.commits and len(wild.faults) > 2 and wild.n_poisoned == 0


# --- the audits see ---------------------------------------------------------------------------------------


def grant(lease: int, design: str = "a", **more: Any) -> LeaseGranted:
    return LeaseGranted(lease=lease, design=design, scale="scale-0", holder="v", **more)


def recorded(lease: int, design: str = "a") -> VerificationRecorded:
    return VerificationRecorded(lease=lease, design=design, scale="scale-0", metrics={"x": 1.0}, report="r")


BROKEN: dict[str, tuple[list[Event], str]] = {
    "quota": ([grant(1), grant(2, "b"), grant(3, "c")], "quota 2 .* is overrun"),
    "two holders": ([grant(1), grant(2)], "is leased to 2 holders"),
    "second commit": ([grant(1), recorded(1), grant(2)], "was leased though it has ended"),
    "late commit": (
        [grant(1), LeaseRefunded(lease=1, cause="holder-died"), recorded(1)],
        "but it was lease_refunded",
    ),
    "falling number": ([grant(2), LeaseRefunded(lease=2, cause="stopped"), grant(1)], "came after lease 2"),
    "another's result": ([grant(1), recorded(1, "b")], "took another's result"),
    "after the end": ([RunFinished(reason="x"), grant(1)], "though no new work may start"),
    "unsound": ([grant(1, "d")], "though it did not pass its check"),
    "cap": ([grant(1, gpu_seconds=3.0), grant(2, "b", gpu_seconds=3.0)], "passes the cap of 5"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_an_auditor_sees_a_broken_law(name: str) -> None:
    events, message = BROKEN[name]
    auditor = Auditor()
    auditor.saw(started(Schedule(seed=0, quotas=(2,), caps={"gpu_seconds": 5.0})))
    for design in "abc":
        auditor.saw(DesignImplemented(design=design))
    with pytest.raises(AuditError, match=message):
        for event in events:
            auditor.saw(event)


def test_an_acknowledgement_before_the_disk_is_seen() -> None:
    with pytest.raises(AuditError, match="acknowledged and is not in the journal"):
        Auditor().told(recorded(1))


def find(message: str, faults: tuple[Any, ...] = (), **more: Any) -> None:
    """Some schedule with these faults meets what was broken on purpose."""
    with pytest.raises((AuditError, BookkeepingError), match=message):
        for seed in range(60):
            simulate(replace(SMALL, seed=seed, faults=faults, max_faults=8, fault_gap=40.0, **more))


def test_a_keeper_that_answers_before_it_writes_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    durable = Keeper._durable

    async def late(keeper: Keeper) -> None:
        keeper._process.start(durable(keeper))

    monkeypatch.setattr(Keeper, "_durable", late)
    find("acknowledged and is not in the journal", ("tree-dies",))


def test_a_journal_with_two_writers_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(DiskJournal, "_check", lambda journal, expected_seq: None)
    find("holders|came after|only rise|was proposed twice|is overrun|but it was|it exists", ("second-driver",))


def test_a_scheduler_that_decides_on_old_news_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """It once shared a reading of the books that had begun before it was asked, and ended a run with a design waiting."""

    async def shared(granter: Granter) -> None:
        if not granter._reading.is_held:
            async with granter._reading:
                await granter._read()
        else:
            async with granter._reading:
                pass

    read = Granter._read

    async def slowly(granter: Granter) -> None:
        await read(granter)
        await granter._process.sleep(25.0)  # the last answer is long on its way

    monkeypatch.setattr(Granter, "_read", slowly)
    short = {"quotas": (4,), "n_given": 0, "n_seeds": 0, "n_verifiers": 4, "run_s": 0.5, "check_s": 60.0}
    for seed in range(10):
        simulate(replace(SMALL, seed=seed, **short))  # type: ignore[arg-type]
    monkeypatch.setattr(Granter, "_catch_up", shared)
    find("no design is left .* could climb|designs short", **short)


def test_a_designer_kept_waiting_for_itself_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """A task whose answer was lost once counted as in hand for ever, and nothing came any more."""
    forget = Keeper._forget

    def elsewhere(keeper: Keeper, designer: str) -> None:
        if sys._getframe(1).f_code is not Keeper.next_task.__code__:
            forget(keeper, designer)

    monkeypatch.setattr(Keeper, "_forget", elsewhere)
    monkeypatch.setattr("genesys.testing.simulation.simulator.MAX_STEPS", 20_000)
    find("does not end", ("answer-lost",))


def test_a_design_that_kills_for_ever_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("genesys.evolution.tree.POISON_AFTER", 4)
    find("was leased though it has ended", p_killed=0.5)
