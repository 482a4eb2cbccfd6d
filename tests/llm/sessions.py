"""Whole sessions for tests of what carries them: real ones, at a bench where every text that can be read passes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

from genesys.agents.briefing import bounds
from genesys.agents.conductor import Asking, Conducted, conduct
from genesys.agents.retrieval import Bm25Retriever, library_documents
from genesys.agents.workbench import Workbench
from genesys.evolution.evidence import Evidence, Known
from genesys.gau import UnitTree
from genesys.gau.library import seed_design
from genesys.ladder import LADDERS
from genesys.llm.calls import Treasury
from genesys.roles.brief import Brief, SessionLimits, SessionOutcome
from genesys.roles.effects import Tell
from genesys.roles.session import design_session
from genesys.sandbox import Policy
from genesys.testing.null_cage import NullCage

SCALES = LADDERS["cpu"].scales
MODES = ("mutation", "crossover", "scratch")
PARENTS = {"mutation": ("gpt",), "crossover": ("gpt", "retnet"), "scratch": ()}
SMALL = SessionLimits(beam=1, samples=1, max_proposals=2, max_searches=1, max_turns=2, max_attempts=2,
                      max_failed_units=1, max_units=8, retrieval_tokens=200)  # fmt: skip


class Bench(NullCage):
    """Passes every design and derives nothing."""

    async def run(self, entry: str, request: Mapping[str, Any], policy: Policy) -> dict[str, Any]:
        return await super().run(entry, request, policy) if "tree" in request else {"output": "0"}


def brief(session: str, mode: str, *, limits: SessionLimits = SMALL, seed: int = 0) -> Brief:
    """The task of one session."""
    names = PARENTS[mode]
    known = tuple(Known(design=seed_design(name).design_id, name=name, outcome="verified") for name in names)
    return Brief(
        session=session, operator=mode, parents=tuple(map(seed_design, names)), evidence=Evidence(parents=known),
        bounds=_bounds(), limits=limits, seed=seed,
    )  # fmt: skip


async def run_session(
    task: Brief,
    gateway: Asking,
    treasury: Treasury,
    *,
    workbench: Workbench | None = None,
    retriever: Any = None,
    on_tell: Callable[[Tell], None] = lambda told: None,
) -> Conducted[SessionOutcome]:
    """Conduct it; every design is new to the run."""

    async def claim(tree: UnitTree) -> str:
        return ""

    return await conduct(
        design_session(task), session_id=task.session, gateway=gateway, treasury=treasury, claim=claim, seed=task.seed,
        workbench=workbench or Workbench(Bench(), SCALES, 257, n_jobs=8), retriever=retriever or units(), on_tell=on_tell,
    )  # fmt: skip


@cache
def units() -> Bm25Retriever:
    """The library's units to search."""
    return Bm25Retriever(library_documents())


@cache
def _bounds() -> Mapping[str, str]:
    return bounds(SCALES, 257)
