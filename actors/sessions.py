"""Sessions of language models within a designer: from a task to what the books are told of its end."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from actors.handles import Objects, TreeHandle
from actors.messages import DesignSession
from genesys.agents.conductor import Conducted, Session, conduct
from genesys.agents.endings import Ended, ended_as, session_of
from genesys.agents.retrieval import Bm25Retriever, Document, document_of, library_documents
from genesys.agents.workbench import Workbench
from genesys.evolution.events import (
    DesignProposed,
    DesignRejected,
    Event,
    ProposalFailed,
    VerificationFailed,
)
from genesys.evolution.evidence import Known
from genesys.evolution.sessions import SessionTask, decode_task
from genesys.gau import UnitTree
from genesys.gau.library import library
from genesys.gau.normal_form import normal_form
from genesys.llm.calls import Treasury
from genesys.llm.client import Client, LiteLLMClient
from genesys.llm.gateway import Gateway
from genesys.llm.prices import PriceList
from genesys.llm.settings import AgentsConfig
from genesys.roles.brief import SessionOutcome
from genesys.roles.effects import Tell
from genesys.roles.lessons import LessonsOutcome

log = logging.getLogger(__name__)

_TOLD = ("seed", "given")
"""Operators whose designs may be found beside those of sessions; what rules make has no words and no units of its own."""


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
        if work.poison:
            return await self._given_up(work, blob, "poison", work.poison)
        parents = tuple([_read(await self._objects.get(parent)) for parent in work.parents])
        try:
            task = decode_task(blob)
            session = session_of(task, parents)
        except (KeyError, TypeError, ValueError) as error:
            return await self._given_up(work, blob, "stale", f"its task is of another version of Genesys: {error}")
        await self._reading.catch_up()
        return ended_as(work.designer, task, parents, await self._conducted(session, work, task))

    async def _given_up(self, work: DesignSession, blob: bytes, cause: str, reason: str) -> Ended:
        """The end of a session that is not conducted; what it cost until now is told with it."""
        task = SessionTask(session=work.session, operator=json.loads(blob)["operator"])
        outcome = SessionOutcome(tree=None, cause=cause, reason=reason)
        cost_nano = await self._treasury.spent(work.session)
        return ended_as(work.designer, task, (), Conducted(outcome=outcome, cost_nano=cost_nano, models={}, n_calls=0))

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


def _read(program: bytes) -> UnitTree:
    return UnitTree.from_json(json.loads(program))
