"""Proposes designs by rules on trees, has them checked in a cage, and submits them."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Mapping, Sequence
from random import Random
from typing import TYPE_CHECKING, Any

import ray

from actors.batching import Batched
from actors.handles import Objects, RayObjects, TreeHandle
from actors.messages import CheckTask, DesignSession, Parent, ProposeTask, Ref, Submission
from genesys.agents.programs import encode_program, step_sizes
from genesys.checker import VerdictCache, check_request, is_sane, sketch_distance, unchecked
from genesys.errors import INFRASTRUCTURE_CAUSES, GenesysError, JobFailed
from genesys.evolution.events import DesignImplemented, DesignProposed, DesignRejected, Event, ProposalFailed
from genesys.evolution.operators import Proposal, design_name, propose
from genesys.evolution.operators.mutation import edit_odds
from genesys.gau import UnitTree
from genesys.gau.library import library
from genesys.gau.normal_form import normal_form
from genesys.ladder import Scale
from genesys.sandbox import CHECK_MODULES, Cage, ForkCage
from genesys.sandbox.layers import Level
from genesys.storage import content_hash
from genesys.verification.checking import check_design

if TYPE_CHECKING:
    from actors.sessions import Sessions, SessionTools
    from genesys.agents.endings import Ended

log = logging.getLogger(__name__)

CHECK_DEADLINE_S = 180.0
MAX_DUPLICATES = 20
MAX_CHECKS = 2
"""Of one designer at once; where language models design, it has many designs in the making."""


class Designer(Batched):
    """One member of the designer pool. Holds no state of the run; may die at any moment.

    Args:
        name: Its name in the pool, and in the journal.
        scales: The ladder's scales, for the checker and the size tuner.
        cage: Where generated code is checked; a warm fork server of its own by default.
        verdicts: Where verdicts are kept, for designs that come again; nowhere by default.
        tools: For sessions of language models, of which it conducts any number at once; None where rules design alone.
    """

    def __init__(
        self, name: str, tree: TreeHandle, scales: tuple[Scale, ...], vocab_size: int, *, cage: Cage | None = None,
        objects: Objects | None = None, verdicts: VerdictCache | None = None, sandbox: Level = "standard",
        tools: SessionTools | None = None,
    ) -> None:  # fmt: skip
        self._name, self._tree, self._vocab_size = name, tree, vocab_size
        self._scales = scales
        self._cage = cage or ForkCage(preload=_modules(tools), require=sandbox)
        self._objects = objects or RayObjects()
        self._verdicts = verdicts
        self._room = asyncio.Semaphore(MAX_CHECKS)
        self._sessions = self._open_sessions(tools) if tools else None

    def __repr__(self) -> str:
        return self._name

    async def ready(self) -> str:
        """Answer once the actor runs and its cage is open.

        Raises:
            ConfigError: The host does not offer the isolation that the run demands.
        """
        await self._cage.layers()
        return self._name

    def _open_sessions(self, tools: SessionTools) -> Sessions:
        from actors.sessions import Sessions
        from genesys.agents.workbench import Workbench

        workbench = Workbench(self._cage, self._scales, self._vocab_size, verdicts=self._verdicts, n_jobs=MAX_CHECKS)
        return Sessions(self._tree, self._objects, workbench, tools)

    async def design(self, task: ProposeTask | DesignSession | CheckTask) -> None:
        """Do one task and submit the outcome; idempotent by design id."""
        match task:
            case CheckTask():
                program = await self._objects.get(task.program)
                tree = UnitTree.from_json(json.loads(program))
                await self._tree.submit(Submission(events=(await self._checked(tree),)))
            case ProposeTask():
                await self._propose(task)
            case DesignSession():
                await self._conduct(task)

    async def _conduct(self, work: DesignSession) -> None:
        assert self._sessions is not None, "sessions are handed out where language models are configured"
        ended = await self._sessions.conduct(work)
        account = self._objects.put(ended.account)
        failure = ended.event() if ended.tree is None else await self._submit_design(ended, ended.tree, account)
        if failure is not None:
            await self._tree.submit(Submission(events=(failure,), account=account))

    async def _submit_design(self, ended: Ended, tree: UnitTree, account: Ref) -> ProposalFailed | None:
        """Check and submit a session's design; the session's failure where that cannot be."""
        try:
            program = encode_program(tree)
            proposed = ended.proposed(
                program=content_hash(program), name=design_name(tree), steps=step_sizes(tree, ended.parents)
            )
            outcome = await self._checked(tree, ended.parents)
        except GenesysError:
            raise
        except Exception as error:  # a mistake of ours ends this session; a run has others
            log.exception("%s ended by a mistake in Genesys", ended.task.session)
            return ended.failed("bug", f"{type(error).__name__}: {error}")
        submission = Submission(events=(proposed, outcome), program=self._objects.put(program), account=account)
        if await self._tree.submit(submission):
            return None
        return ended.failed("duplicate", "the design came to exist meanwhile", proposed.design)

    async def _propose(self, task: ProposeTask) -> None:
        parents = [await self._read(parent) for parent in task.parents]
        proposal = await self._new_proposal(task, parents)
        if isinstance(proposal, ProposalFailed):
            await self._tree.submit(Submission(events=(proposal,)))
            return
        program = encode_program(proposal.tree)
        proposed = DesignProposed(
            design=proposal.tree.design_id,
            name=design_name(proposal.tree),
            program=content_hash(program),
            operator=proposal.operator,
            parents=tuple(parent.design for parent in task.parents),
            references=task.references,
            designer=task.designer,
            parts=tuple(unit.name for unit in proposal.tree.units()),
            detail=proposal.detail,
            reason=task.reason,
            edit=proposal.edit,
            target=proposal.target,
            odds=_odds(task),
            steps=step_sizes(proposal.tree, parents),
            normal_form=normal_form(proposal.tree),
        )
        outcome = await self._checked(proposal.tree, parents)
        await self._tree.submit(Submission(events=(proposed, outcome), program=self._objects.put(program)))

    async def _new_proposal(self, task: ProposeTask, parents: Sequence[UnitTree]) -> Proposal | ProposalFailed:
        """Draw proposals until one is new to the run, in its normal form."""
        rng, duplicate, units = Random(task.seed), "", task.focus.units
        alphabet = tuple(unit for unit in library().values() if not units or unit.name in units)
        for _ in range(MAX_DUPLICATES):
            try:
                proposal = propose(task.operator, parents, alphabet, rng, task.focus)
            except ValueError as error:
                return ProposalFailed(designer=task.designer, operator=task.operator, reason=str(error))
            form = normal_form(proposal.tree)
            duplicate = await self._tree.claim(proposal.tree.design_id, form, task.designer)
            if not duplicate:
                return proposal
        return ProposalFailed(
            designer=task.designer, operator=task.operator, reason="only designs that exist", duplicate_of=duplicate
        )

    async def _read(self, parent: Parent) -> UnitTree:
        return UnitTree.from_json(json.loads(await self._objects.get(parent.program)))

    async def _checked(self, tree: UnitTree, parents: Sequence[UnitTree] = ()) -> Event:
        """The checker's verdict as an event. A check that is killed twice is the design's own doing."""
        killed: JobFailed | None = None
        for _ in range(2):
            try:
                async with self._room:
                    report = await check_design(
                        tree, self._request(tree), self._cage, deadline_s=CHECK_DEADLINE_S, verdicts=self._verdicts
                    )
                return self._verdict(tree, report, parents)
            except JobFailed as failure:
                killed = failure
                if failure.cause not in INFRASTRUCTURE_CAUSES:
                    break
        assert killed is not None
        return DesignRejected(design=tree.design_id, findings=(unchecked(tree, killed).to_json(),))

    def _request(self, tree: UnitTree) -> dict[str, Any]:
        return check_request(tree, self._scales, self._vocab_size, behaviour=True)

    def _verdict(self, tree: UnitTree, report: Mapping[str, Any], parents: Sequence[UnitTree]) -> Event:
        if not is_sane(report):
            return DesignRejected(design=tree.design_id, findings=tuple(report["findings"]), checker=report["checker"])
        return DesignImplemented(
            design=tree.design_id,
            sizes=report["sizes"],
            checker=report["checker"],
            fingerprint=report["behaviour"]["fingerprint"],
            steps=self._behaviour_step(report, parents),
        )

    def _behaviour_step(self, report: Mapping[str, Any], parents: Sequence[UnitTree]) -> dict[str, float]:
        """How far the outputs moved, from the nearest parent whose verdict is at hand."""
        kept = [self._verdicts.get(self._request(parent), parent) for parent in parents] if self._verdicts else []
        moved = [
            sketch_distance(report["behaviour"]["sketch"], other["behaviour"]["sketch"]) for other in kept if other
        ]
        known = [distance for distance in moved if distance is not None]
        return {"behaviour": min(known)} if known else {}


def _modules(tools: SessionTools | None) -> tuple[str, ...]:
    """What the cage imports once."""
    if tools is None:
        return CHECK_MODULES
    from genesys.agents.workbench import BENCH_MODULES

    return BENCH_MODULES


def _odds(task: ProposeTask) -> dict[str, float]:
    """The operators' odds, and where edits are weighed those of each edit, as `mutation/wrap`."""
    drawn = task.odds.get("mutation", 0.0)
    weighed = edit_odds(task.focus) if task.focus.edits and drawn else {}
    return {**task.odds, **{f"mutation/{edit}": drawn * odds for edit, odds in weighed.items()}}


DesignerActor = ray.remote(Designer)
