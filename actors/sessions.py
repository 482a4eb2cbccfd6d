"""Sessions of language models within a designer: from a task to what the books are told of its end."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from actors.handles import Objects, TreeHandle
from actors.messages import DesignSession
from genesys.agents.conductor import Conducted, Session, conduct
from genesys.agents.retrieval import Bm25Retriever, Document, document_of, library_documents
from genesys.agents.workbench import Workbench
from genesys.evolution.events import (
    LESSONS,
    DesignProposed,
    DesignRejected,
    Event,
    LessonsWritten,
    ProposalFailed,
    VerificationFailed,
)
from genesys.evolution.evidence import Known
from genesys.evolution.sessions import SessionTask, decode_task
from genesys.gau import UnitTree
from genesys.gau.library import library
from genesys.gau.normal_form import normal_form
from genesys.llm.calls import NANO_PER_USD, Treasury
from genesys.llm.client import Client, LiteLLMClient
from genesys.llm.gateway import Gateway
from genesys.llm.prices import PriceList
from genesys.llm.settings import AgentsConfig
from genesys.roles.brief import Brief, SessionLimits, SessionOutcome
from genesys.roles.effects import Tell
from genesys.roles.lessons import LessonsOutcome, lessons_session
from genesys.roles.session import design_session
from genesys.roles.wording import common
from genesys.storage import content_hash

log = logging.getLogger(__name__)

_TOLD = ("seed", "given")
"""Operators whose designs may be found beside those of sessions; what rules make has no words and no units of its own."""

RUN_WIDE_CAPS = frozenset({"run", "day", "role"})
"""Caps of money after which no other session would get any."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionTools:
    """What a designer is given so that it may conduct sessions.

    Attributes:
        prices: As the run's books of calls hold them, see `PriceList.to_json`.
        client: Sends requests; LiteLLM's by default.
    """

    agents: AgentsConfig
    prices: Mapping[str, Any]
    treasury: Treasury
    client: Client | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """What came of a session, ready for the books.

    Attributes:
        tree: The design; None for a failure, or lessons.
        account: The blob with what was said.
        told: Fields that every event which ends a session has.
    """

    work: DesignSession
    task: SessionTask
    parents: tuple[UnitTree, ...]
    outcome: SessionOutcome | LessonsOutcome
    account: bytes
    told: Mapping[str, Any]

    @property
    def tree(self) -> UnitTree | None:
        return self.outcome.tree if isinstance(self.outcome, SessionOutcome) else None

    def event(self) -> LessonsWritten | ProposalFailed:
        """The event that closes a session without a design."""
        outcome = self.outcome
        if isinstance(outcome, LessonsOutcome) and outcome.text:
            return LessonsWritten(text=outcome.text, n_designs=self.task.n_designs, **self.told)
        cause, reason = _failure(outcome)
        return self.failed(cause, reason, getattr(outcome, "duplicate_of", ""))

    def failed(self, cause: str, reason: str, duplicate_of: str = "") -> ProposalFailed:
        """A failure of this session."""
        return ProposalFailed(
            designer=self.work.designer, operator=self.task.operator, cause=cause, reason=reason,
            duplicate_of=duplicate_of, **self._words(), **self.told,
        )  # fmt: skip

    def proposed(self, *, program: str, name: str, steps: Mapping[str, float]) -> DesignProposed:
        """The event that closes a session with a design."""
        assert isinstance(self.outcome, SessionOutcome) and self.outcome.tree is not None
        tree, task = self.outcome.tree, self.task
        return DesignProposed(
            design=tree.design_id, name=name, program=program, operator=task.operator, parents=task.parents,
            references=task.references, designer=self.work.designer, parts=tuple(unit.name for unit in tree.units()),
            detail=self.outcome.title, target=self.outcome.target, odds=task.odds, steps=steps,
            normal_form=normal_form(tree), reason=task.reason, **self._words(), **self.told,
        )  # fmt: skip

    def _words(self) -> dict[str, Any]:
        outcome = self.outcome
        if isinstance(outcome, LessonsOutcome):
            return {}
        return {"title": outcome.title, "abstract": outcome.abstract, "scores": dict(outcome.scores)}


class Sessions:
    """Conducts any number of sessions at once; they share a gateway, a workbench and what they may read."""

    def __init__(self, tree: TreeHandle, objects: Objects, workbench: Workbench, tools: SessionTools) -> None:
        self._tree, self._objects, self._workbench = tree, objects, workbench
        self._treasury = tools.treasury
        self._gateway = Gateway(
            tools.agents, PriceList.from_json(tools.prices), tools.treasury, tools.client or LiteLLMClient()
        )
        self._reading = _Reading(tree, objects)

    async def conduct(self, work: DesignSession) -> Ended:
        """Conduct a session from its start, or from where another designer left it.

        Raises:
            TransientError: Infrastructure was away; the session stays open.
        """
        blob = await self._objects.get(work.task)
        parents = tuple([_read(await self._objects.get(parent)) for parent in work.parents])
        try:
            task = decode_task(blob)
            session = session_of(task, parents)
        except (KeyError, TypeError, ValueError) as error:  # of another version of Genesys
            task = SessionTask(session=work.session, operator=json.loads(blob)["operator"])
            reason = f"its task is of another version of Genesys: {error}"
            return ended_as(work, task, parents, _stale(reason))
        await self._reading.catch_up()
        return ended_as(work, task, parents, await self._conducted(session, work, task))

    async def _conducted(
        self, session: Session[Any], work: DesignSession, task: SessionTask
    ) -> Conducted[SessionOutcome | LessonsOutcome]:
        async def claim(tree: UnitTree) -> str:
            return await self._tree.claim(tree.design_id, normal_form(tree), work.session)  # whoever has it in hand

        def note(told: Tell) -> None:
            log.info("%s, %s: %s", work.session, told.stage, " ".join(told.text.split())[:200])

        return await conduct(
            session, session_id=work.session, gateway=self._gateway, workbench=self._workbench,
            retriever=self._reading.retriever, claim=claim, treasury=self._treasury, on_tell=note, seed=task.seed,
            weights=task.weights,
        )  # fmt: skip


class _Reading:
    """What sessions may read beside their prompts: the units of the library and of the run, its designs and failures."""

    def __init__(self, tree: TreeHandle, objects: Objects) -> None:
        self.retriever = Bm25Retriever(library_documents())
        self._tree, self._objects = tree, objects
        self._shipped = {unit.name for unit in library().values()}
        self._known: dict[str, Known] = {}
        self._n_read = 0
        self._reading = asyncio.Lock()

    async def catch_up(self) -> None:
        """Take in what the books gained since the last time."""
        async with self._reading:
            while events := await self._tree.news(self._n_read):
                for event in events:
                    for document in await self._documents(event):
                        self.retriever.add(document)
                self._n_read += len(events)

    async def _documents(self, event: Event) -> tuple[Document, ...]:
        match event:
            case DesignProposed() if event.session or event.operator in _TOLD:
                self._known[event.design] = known = Known(
                    design=event.design, name=event.name, title=event.title, abstract=event.abstract or event.detail
                )
                return document_of(known), *(await self._units(event))
            case DesignRejected(findings=findings) if event.design in self._known:
                return (self._failed(event.design, "rejected", [str(f.get("measured", "")) for f in findings[:1]]),)
            case VerificationFailed() if event.design in self._known:
                return (self._failed(event.design, "failed", [event.cause, event.reason]),)
            case ProposalFailed(session=session) if session and event.title:
                known = Known(
                    design=session, name=event.title, title=event.title, abstract=event.abstract,
                    outcome="proposal-failed", cause=f"{event.cause}: {event.reason}"[:300],
                )  # fmt: skip
                return (document_of(known),)
        return ()

    def _failed(self, design: str, outcome: str, why: Iterable[str]) -> Document:
        known = self._known[design] = replace(self._known[design], outcome=outcome, cause=": ".join(why)[:300])
        return document_of(known)

    async def _units(self, event: DesignProposed) -> list[Document]:
        """Units that the library lacks."""
        tree = _read(await self._objects.get(await self._tree.program(event.design)))
        return [
            Document(source="unit", name=unit.name, title=f"{unit.name} ({unit.kind})", text=unit.source)
            for unit in tree.units()
            if unit.name not in self._shipped
        ]


def session_of(task: SessionTask, parents: Sequence[UnitTree]) -> Session[SessionOutcome] | Session[LessonsOutcome]:
    """The session that a task describes; the parents' programs stand in its order."""
    if task.operator == LESSONS:
        return lessons_session(task.evidence, common(task.bounds))
    return design_session(brief_of(task, parents))


def brief_of(task: SessionTask, parents: Sequence[UnitTree]) -> Brief:
    """What a session is given.

    Raises:
        TypeError, ValueError: A task whose limits or bounds are of another version.
    """
    operator: Any = task.operator
    return Brief(
        session=task.session, operator=operator, parents=tuple(parents), evidence=task.evidence,
        bounds=common(task.bounds), limits=SessionLimits(**task.limits), seed=task.seed, planted=task.planted,
    )  # fmt: skip


def _read(program: bytes) -> UnitTree:
    return UnitTree.from_json(json.loads(program))


def _stale(reason: str) -> Conducted[SessionOutcome | LessonsOutcome]:
    """The end of a session that could not be conducted."""
    outcome = SessionOutcome(tree=None, cause="stale", reason=reason)
    return Conducted(outcome=outcome, cost_nano=0, models={}, n_calls=0)


def ended_as(
    work: DesignSession, task: SessionTask, parents: tuple[UnitTree, ...],
    conducted: Conducted[SessionOutcome | LessonsOutcome],
) -> Ended:  # fmt: skip
    """What came of a session, as the books are told of it."""
    outcome = conducted.outcome
    said = {
        "log": [dict(entry) for entry in outcome.log],
        "attempts": [asdict(attempt) for attempt in outcome.attempts],
        "n_calls": conducted.n_calls,
    }
    account = json.dumps(said, sort_keys=True, default=str).encode()
    told = {
        "session": task.session, "account": content_hash(account), "cost_usd": conducted.cost_nano / NANO_PER_USD,
        "models": dict(conducted.models),
    }  # fmt: skip
    return Ended(work=work, task=task, parents=parents, outcome=outcome, account=account, told=told)


def _failure(outcome: SessionOutcome | LessonsOutcome) -> tuple[str, str]:
    """Why a session gave nothing, in a word and a sentence; money that only this session lacks is no one else's matter."""
    cause = outcome.cause or "refused"
    if cause == "money":
        caps = [entry.get("cap") for entry in outcome.log if entry.get("cause") == "money"]
        cause = "money" if not caps or RUN_WIDE_CAPS.intersection(map(str, caps)) else "session-cap"
    return cause, outcome.reason or "no reason was given"
