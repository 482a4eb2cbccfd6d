"""Proposes designs by rules on trees, has them checked in a cage, and submits them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from random import Random
from typing import Any

import ray

from actors.batching import Batched
from actors.handles import Objects, RayObjects, TreeHandle
from actors.messages import CheckTask, Parent, ProposeTask, Submission
from genesys.checker import VerdictCache, check_request, is_sane, unchecked
from genesys.errors import INFRASTRUCTURE_CAUSES, JobFailed
from genesys.evolution.events import DesignImplemented, DesignProposed, DesignRejected, Event, ProposalFailed
from genesys.evolution.operators import Proposal, design_name, propose
from genesys.gau import UnitTree
from genesys.gau.library import library
from genesys.ladder import Scale
from genesys.sandbox import CHECK_MODULES, Cage, ForkCage
from genesys.sandbox.layers import Level
from genesys.storage import content_hash
from genesys.verification.checking import check_design

CHECK_DEADLINE_S = 180.0
MAX_DUPLICATES = 20


class Designer(Batched):
    """One member of the designer pool. Holds no state of the run; may die at any moment.

    Args:
        name: Its name in the pool, and in the journal.
        scales: The ladder's scales, for the checker and the size tuner.
        cage: Where generated code is checked; a warm fork server of its own by default.
        verdicts: Where verdicts are kept, for designs that come again; nowhere by default.
    """

    def __init__(
        self, name: str, tree: TreeHandle, scales: tuple[Scale, ...], vocab_size: int, *, cage: Cage | None = None,
        objects: Objects | None = None, verdicts: VerdictCache | None = None, sandbox: Level = "standard",
    ) -> None:  # fmt: skip
        self._name, self._tree, self._vocab_size = name, tree, vocab_size
        self._scales = scales
        self._cage = cage or ForkCage(preload=CHECK_MODULES, require=sandbox)
        self._objects = objects or RayObjects()
        self._verdicts = verdicts

    def __repr__(self) -> str:
        return self._name

    async def ready(self) -> str:
        """Answer once the actor runs and its cage is open.

        Raises:
            ConfigError: The host does not offer the isolation that the run demands.
        """
        await self._cage.layers()
        return self._name

    async def design(self, task: ProposeTask | CheckTask) -> None:
        """Do one task and submit the outcome; idempotent by design id."""
        match task:
            case CheckTask():
                program = await self._objects.get(task.program)
                tree = UnitTree.from_json(json.loads(program))
                await self._tree.submit(Submission(events=(await self._checked(tree),)))
            case ProposeTask():
                await self._propose(task)

    async def _propose(self, task: ProposeTask) -> None:
        proposal = await self._new_proposal(task)
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
        )
        outcome = await self._checked(proposal.tree)
        await self._tree.submit(Submission(events=(proposed, outcome), program=self._objects.put(program)))

    async def _new_proposal(self, task: ProposeTask) -> Proposal | ProposalFailed:
        """Draw proposals until one is new to the run."""
        rng = Random(task.seed)
        parents = [await self._read(parent) for parent in task.parents]
        duplicate = ""
        for _ in range(MAX_DUPLICATES):
            try:
                proposal = propose(task.operator, parents, tuple(library().values()), rng)
            except ValueError as error:
                return ProposalFailed(designer=task.designer, operator=task.operator, reason=str(error))
            duplicate = proposal.tree.design_id
            if await self._tree.claim(duplicate, task.designer):
                return proposal
        return ProposalFailed(
            designer=task.designer, operator=task.operator, reason="only designs that exist", duplicate_of=duplicate
        )

    async def _read(self, parent: Parent) -> UnitTree:
        return UnitTree.from_json(json.loads(await self._objects.get(parent.program)))

    async def _checked(self, tree: UnitTree) -> Event:
        """The checker's verdict as an event. A check that is killed twice is the design's own doing."""
        request = check_request(tree, self._scales, self._vocab_size)
        killed: JobFailed | None = None
        for _ in range(2):
            try:
                report = await check_design(
                    tree, request, self._cage, deadline_s=CHECK_DEADLINE_S, verdicts=self._verdicts
                )
                return _verdict(tree, report)
            except JobFailed as failure:
                killed = failure
                if failure.cause not in INFRASTRUCTURE_CAUSES:
                    break
        assert killed is not None
        return DesignRejected(design=tree.design_id, findings=(unchecked(tree, killed).to_json(),))


def _verdict(tree: UnitTree, report: Mapping[str, Any]) -> Event:
    if is_sane(report):
        return DesignImplemented(design=tree.design_id, sizes=report["sizes"], checker=report["checker"])
    return DesignRejected(design=tree.design_id, findings=tuple(report["findings"]), checker=report["checker"])


def encode_program(tree: UnitTree) -> bytes:
    """A design's program as the bytes that the blob store holds."""
    return json.dumps(tree.to_json(), sort_keys=True).encode()


DesignerActor = ray.remote(Designer)
