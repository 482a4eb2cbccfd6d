"""A run's sessions taken again from its books, and what they end with beside what its journal says."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, NoReturn, cast

from genesys.agents.conductor import Session, conduct
from genesys.agents.endings import Ended, ended_as, session_of
from genesys.agents.programs import encode_program, step_sizes
from genesys.evolution.events import DesignProposed, LessonsWritten, ProposalFailed, SessionStarted
from genesys.evolution.operators import design_name
from genesys.evolution.sessions import decode_task
from genesys.gau import UnitTree
from genesys.llm.book import CallBook
from genesys.llm.calls import CALLS_FILE, StaleError
from genesys.llm.gateway import Gateway
from genesys.llm.prices import PriceList
from genesys.llm.replay import ReplayTreasury
from genesys.roles.brief import SessionOutcome
from genesys.roles.lessons import LessonsOutcome
from genesys.storage import content_hash

if TYPE_CHECKING:
    from genesys.api import Run
    from genesys.storage.journal import Journal

End = DesignProposed | ProposalFailed | LessonsWritten
CUT_SHORT = frozenset({"poison", "stale", "bug"})
"""Causes of an end that was not the session's own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Replayed:
    """A session that ended, taken again.

    Attributes:
        differs: By field of the event that closes it, what the journal says and what came out now.
        n_calls: Answered from the books; none was sent.
        reason: Why it could not be taken to its end, when it could not.
    """

    session: str
    operator: str
    n_calls: int
    differs: Mapping[str, tuple[Any, Any]] = field(default_factory=dict)
    reason: str = ""

    @property
    def is_same(self) -> bool:
        return not self.differs


class _Absent:
    """Stands for all that a replay does without: it has the memory of what they gave."""

    def __getattr__(self, name: str) -> NoReturn:
        raise StaleError(f"Cannot replay a {name}: the books do not remember what it gave.")


async def replay(run: Run) -> list[Replayed]:
    """Take every session that ended once more, in the order of their starts; nothing is sent, run or written.

    Sessions that the run gave up are left out: nobody took them to an end.
    """
    with closing(run.store.journal(mode="reader")) as journal:
        started, ends = _sessions(journal)
        if not ends:
            return []
        with closing(CallBook(run.store.root / CALLS_FILE, mode="reader")) as book:
            treasury = ReplayTreasury(book)
            gateway = Gateway(
                run.config.agents, PriceList.from_json(book.prices), treasury, cast(Any, _Absent()), sleep=_at_once
            )
            found = [_Session(run, journal, started[session], end) for session, end in ends.items()]
            return [await session.replayed(gateway, treasury) for session in found]


def _sessions(journal: Journal) -> tuple[dict[str, SessionStarted], dict[str, End]]:
    """Sessions by id as they started, and as they ended in the order of their starts."""
    started: dict[str, SessionStarted] = {}
    ends: dict[str, End] = {}
    for entry in journal.read():
        match entry.event:
            case SessionStarted() as event:
                started[event.session] = event
            case DesignProposed() | ProposalFailed() | LessonsWritten() as event:
                if event.session and getattr(event, "cause", "") not in CUT_SHORT:
                    ends[event.session] = event
    return started, {session: ends[session] for session in started if session in ends}


async def _at_once(seconds: float) -> None:
    """Failures that are known need no waiting."""


class _Session:
    """A session of the journal."""

    def __init__(self, run: Run, journal: Journal, started: SessionStarted, end: End) -> None:
        self._recorded = end
        self._task = decode_task(journal.blob(started.task))
        programs = (journal.blob(run.tree.record(parent).program) for parent in self._task.parents)
        self._parents = tuple(UnitTree.from_json(json.loads(program)) for program in programs)
        self._designer = started.designer if isinstance(end, LessonsWritten) else end.designer

    async def replayed(self, gateway: Gateway, treasury: ReplayTreasury) -> Replayed:
        task, absent = self._task, cast(Any, _Absent())
        session: Session[SessionOutcome | LessonsOutcome] = session_of(task, self._parents)
        conducted = await conduct(
            session, session_id=task.session, gateway=gateway, workbench=absent, retriever=absent,
            claim=_granted, treasury=treasury, seed=task.seed, weights=task.weights,
        )  # fmt: skip
        ended = ended_as(self._designer, task, self._parents, conducted)
        is_stale = getattr(conducted.outcome, "cause", "") == "stale"
        return Replayed(
            session=task.session, operator=task.operator, n_calls=conducted.n_calls,
            differs=dict(_differences(self._recorded, self._end(ended))),
            reason=conducted.outcome.reason if is_stale else "",
        )  # fmt: skip

    def _end(self, ended: Ended) -> End:
        """The event that closes the session, as a designer makes it."""
        recorded, tree = self._recorded, ended.tree
        if tree is None:
            return ended.event()
        if isinstance(recorded, ProposalFailed) and recorded.duplicate_of == tree.design_id:
            return ended.failed(recorded.cause, recorded.reason, tree.design_id)  # another designer was first
        return ended.proposed(
            program=content_hash(encode_program(tree)), name=design_name(tree), steps=step_sizes(tree, self._parents)
        )


async def _granted(tree: UnitTree) -> str:
    """Claims that held; those that did not are remembered."""
    return ""


def _differences(recorded: End, replayed: End) -> Iterator[tuple[str, tuple[Any, Any]]]:
    said, says = ({"kind": event.kind} | asdict(event) for event in (recorded, replayed))
    for name in said | says:
        if said.get(name) != says.get(name):
            yield name, (said.get(name), says.get(name))
