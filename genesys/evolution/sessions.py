"""Sessions of language models in the books: their tasks, and which design or lesson is due next."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from genesys.evolution.design import DesignState
from genesys.evolution.events import LESSONS
from genesys.evolution.evidence import Evidence, evidence_from_json, evidence_to_json
from genesys.evolution.tree import EvolutionTree

Weights = Mapping[str, Mapping[str, float]]
"""By role, how often each model is drawn, relative to the role's other models."""

_BREEDING = (DesignState.IMPLEMENTED, DesignState.VERIFIED)


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionTask:
    """All that decides a session, so that whoever takes it up again does the same.

    Attributes:
        operator: `mutation`, `crossover`, `scratch` or `lessons`.
        reason, references, odds: For the design's record, see `DesignProposed`.
        bounds, limits: What a design must keep and how far the session may go, see `genesys.roles.brief`.
        weights: Of models, in place of the configured ones; {} for those.
        planted: Chance that the reviewer is given a proposal known to be bad.
        n_designs: Of the run when the task was made.
    """

    session: str
    operator: str
    parents: tuple[str, ...] = ()
    references: tuple[str, ...] = ()
    reason: str = ""
    seed: int = 0
    odds: Mapping[str, float] = field(default_factory=dict)
    evidence: Evidence = field(default_factory=Evidence)
    bounds: Mapping[str, str] = field(default_factory=dict)
    limits: Mapping[str, Any] = field(default_factory=dict)
    weights: Weights = field(default_factory=dict)
    planted: float = 0.0
    n_designs: int = 0


def encode_task(task: SessionTask) -> bytes:
    """A task as the bytes of its blob; equal tasks give equal bytes."""
    data = {f.name: getattr(task, f.name) for f in fields(task)} | {"evidence": evidence_to_json(task.evidence)}
    return json.dumps(data, sort_keys=True, separators=(",", ":")).encode()


def decode_task(blob: bytes) -> SessionTask:
    """Read what `encode_task` gave."""
    data = json.loads(blob)
    listed = {name: tuple(data[name]) for name in ("parents", "references")}
    return SessionTask(**{**data, **listed, "evidence": evidence_from_json(data["evidence"])})


def new_session_id(tree: EvolutionTree) -> str:
    """An id that no session of the run has had."""
    return f"session-{tree.counters['session_started'] + 1}"


def is_lessons_due(tree: EvolutionTree, every: int) -> bool:
    """Whether so many designs came since lessons were last asked for, and nobody is at it. Never for 0."""
    asked = any(event.operator == LESSONS for event in tree.open_sessions.values())
    return every > 0 and not asked and len(tree) - tree.lessons_asked_at >= every


def next_to_refine(tree: EvolutionTree, n_children: int, given_out: Mapping[str, int]) -> str:
    """The first design by language models with fewer children by rules than it should have; "" for none.

    Args:
        given_out: Children by rules that were asked for, by design; those that failed count, too.
    """
    for design in tree.authored:
        n = sum(not tree.record(child).session for child in tree.children(design))
        if tree.record(design).state in _BREEDING and max(n, given_out.get(design, 0)) < n_children:
            return design
    return ""
