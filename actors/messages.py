"""What travels between actors: small frozen values. Whatever may be large goes as a `Ref`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from genesys.evolution.events import Event
from genesys.evolution.operators import Focus
from genesys.ladder import Scale

Ref = Any
"""What `Objects.put` gave for a value: a Ray `ObjectRef`, or a small value itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Appended:
    """The answer to an append: whether the books took it, and why not."""

    accepted: bool
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Parent:
    """A parent as its child's designer sees it: its program by reference, and its measured results."""

    design: str
    name: str
    program: Ref
    fitness: Mapping[str, float]
    metrics: Mapping[str, Mapping[str, float]]


@dataclass(frozen=True, slots=True, kw_only=True)
class ProposeTask:
    """Propose one new design from these parents and submit it, checked; `designer` is whom the task was given to.

    Attributes:
        odds: Probability of each operator that could have been drawn.
        focus: Which edits and places to prefer.
    """

    designer: str
    operator: str
    parents: tuple[Parent, ...]
    references: tuple[str, ...]
    reason: str
    seed: int
    odds: Mapping[str, float] = field(default_factory=dict)
    focus: Focus = field(default_factory=Focus)


@dataclass(frozen=True, slots=True, kw_only=True)
class DesignSession:
    """Conduct a session of language models to its end and submit what came of it.

    Attributes:
        task: The blob with the session's task, see `genesys.evolution.sessions`.
        parents: Programs of the task's parents, in its order.
        poison: Why it should be ended instead of conducted; "" for no reason.
    """

    designer: str
    session: str
    task: Ref
    parents: tuple[Ref, ...] = ()
    poison: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckTask:
    """Check a design that stands in the journal unchecked: a seed, or a proposal whose designer died."""

    design: str
    name: str
    program: Ref


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifyTask:
    """Pre-train and evaluate one design at one scale, under a lease; `reference` is the reference design's id, or ""."""

    lease: int
    design: str
    name: str
    scale: Scale
    shape: Mapping[str, int]
    seed: int
    recipe: str
    program: Ref
    reference: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wait:
    """Nothing to do now; ask again later."""

    reason: str
    seconds: float = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """Nothing to do any more."""

    reason: str


DesignerTask = ProposeTask | DesignSession | CheckTask | Wait | Done
VerifierTask = VerifyTask | Wait | Done


@dataclass(frozen=True, slots=True, kw_only=True)
class Submission:
    """What a designer has to tell the tree: events, and the program and the session's account that they name (by reference)."""

    events: tuple[Event, ...]
    program: Ref | None = None
    account: Ref | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What a verifier has to tell the tree: how its lease ended, and the report (by reference) if there is one."""

    event: Event
    report: Ref | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far a verifier is with its verification."""

    design: str = ""
    scale: str = ""
    n_tokens: int = 0
    loss_nats: float = float("nan")
    tokens_per_s: float = 0.0
    stage: str = "idle"
