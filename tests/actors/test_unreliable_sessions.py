"""Sessions of language models while processes die, stop and are cut off and messages are lost: in the books once, paid once."""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from genesys.config.run import VerifiersConfig
from genesys.evolution.events import DesignProposed, LessonsWritten, ProposalFailed, SessionStarted
from genesys.llm.book import CallBook
from genesys.llm.calls import CALLS_FILE
from genesys.storage import RunStore
from tests.actors.test_sessions import config
from tests.actors.test_unreliable import audit
from tests.actors.unreliable import NO_FAULTS, Faults, World

BASE = config({"llm": 2, "rules": 1}, quotas=(6, 2, 1), lessons_every=4)
CONFIG = replace(BASE, designers=replace(BASE.designers, n=2, sessions=2), verifiers=VerifiersConfig(n=2))


def run(folder: Path, seed: int, faults: Faults) -> World:
    """A run to its end, audited: each session ended at most once, with a blob for all that it names."""
    world = World(folder, CONFIG, seed, faults)
    world.run()
    tree = audit(world)
    with closing(RunStore(folder).journal(mode="reader")) as journal:
        events = [entry.event for entry in journal.read()]
        started = [event for event in events if isinstance(event, SessionStarted)]
        ended = [e for e in events if isinstance(e, DesignProposed | ProposalFailed | LessonsWritten) and e.session]
        assert len({event.session for event in started}) == len(started)
        assert {e.session for e in ended} | set(tree.open_sessions) == {event.session for event in started}
        assert len({event.session for event in ended}) == len(ended)
        assert all(journal.blob(event.task) for event in started)
        assert all(journal.blob(event.account) for event in ended if event.account)
    return world


def test_without_faults_every_call_is_answered_and_booked_once(tmp_path: Path) -> None:
    world = run(tmp_path / "run", 0, NO_FAULTS)
    with closing(CallBook(world.folder / CALLS_FILE, mode="reader")) as book:
        totals = book.totals()
    assert totals.run.n_answered == totals.run.n_calls == len(world.client.asked) > 10
    assert not totals.run.unsure_nano


@pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(1, 12))])
def test_the_books_of_sessions_and_of_money_hold(seed: int, tmp_path: Path) -> None:
    world = run(tmp_path / "run", seed, Faults())
    with closing(CallBook(world.folder / CALLS_FILE, mode="reader")) as book:
        totals = book.totals()
    assert totals.run.n_answered <= len(world.client.asked) <= totals.run.n_calls
    assert totals.run.usd <= 50
