"""What can happen to an evolution: a closed, versioned set of events.

A journal is a sequence of these; everything else is derived from them. Fields are only ever added, with defaults, so
that old journals replay. Programs, reports and traces are blobs, named by the SHA-256 of their bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, fields
from functools import lru_cache
from math import inf
from typing import Any, ClassVar

from genesys.errors import ConfigError
from genesys.evolution.frozen import maker
from genesys.ladder.budget import Cost
from genesys.ladder.ledger import RunKey

EVENT_VERSION = 3
LESSONS = "lessons"
"""The operator of a session that writes lessons."""
NO_FAULT_CAUSES = frozenset({"money", "stale"})
"""Causes of a failed proposal that are no sign of a run that finds nothing new."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunStarted:
    """The first event. `quotas` go from the bottom scale up; `costs` are relative, one per scale."""

    kind: ClassVar[str] = "run_started"
    run: str
    scales: tuple[str, ...]
    quotas: tuple[int, ...]
    costs: tuple[float, ...] = ()
    reference: str = ""
    config: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class DesignProposed:
    """A program was proposed; `program` is its blob, `parts` the names of its parts.

    Attributes:
        reason: Why these parents and this operator, in the words of the selection strategy.
        edit: What the operator did, by name; "" where it knows one way only.
        target: Path of the part that it changed.
        odds: Probability, at that moment, of each operator that could have been drawn.
        steps: How far it went, by the name of the distance: from the parents (`tree`, `ast`), to the nearest seed (`seed`).
        normal_form: Hash of the program with names and layout made equal; equal ones are the same program.
        session: The session of language models that made it, which it closes; "" where rules did.
        account: The blob with what was said in the session.
        cost_usd: What the session cost.
        scores: What its reviewers and observers gave, such as `reviewer.rating`.
        models: By role, the model that answered most.
    """

    kind: ClassVar[str] = "design_proposed"
    design: str
    name: str
    program: str
    operator: str
    parents: tuple[str, ...] = ()
    references: tuple[str, ...] = ()
    designer: str = ""
    parts: tuple[str, ...] = ()
    is_seed: bool = False
    detail: str = ""
    edit: str = ""
    target: str = ""
    odds: Mapping[str, float] = field(default_factory=dict)
    steps: Mapping[str, float] = field(default_factory=dict)
    normal_form: str = ""
    reason: str = ""
    session: str = ""
    title: str = ""
    abstract: str = ""
    account: str = ""
    cost_usd: float = 0.0
    scores: Mapping[str, float] = field(default_factory=dict)
    models: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class ProposalFailed:
    """A designer's attempt gave nothing new (a duplicate, no fitting edit); counted, so that attempts are capped.

    Attributes:
        cause: Of a session of language models, in a word; after `money` no session is handed out until the run is resumed.
        session, title, abstract, account, cost_usd, scores, models: See `DesignProposed`.
    """

    kind: ClassVar[str] = "proposal_failed"
    designer: str
    operator: str
    reason: str
    duplicate_of: str = ""
    cause: str = ""
    session: str = ""
    title: str = ""
    abstract: str = ""
    account: str = ""
    cost_usd: float = 0.0
    scores: Mapping[str, float] = field(default_factory=dict)
    models: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionStarted:
    """A session of language models began; the proposal, the failure or the lessons that carry its id close it.

    Attributes:
        designer: Whom it was given to first.
        pool: The kind of designer that was drawn: `llm` or `hybrid`.
        operator: `mutation`, `crossover` or `scratch`, or `lessons` for a rewriting of the lessons.
        task: The blob with all that decides the session, see `genesys.evolution.sessions`.
    """

    kind: ClassVar[str] = "session_started"
    session: str
    designer: str
    operator: str
    task: str
    pool: str = ""
    parents: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class LessonsWritten:
    """What language models are told of the run so far; it takes the place of earlier lessons.

    Attributes:
        n_designs: How many there were when it was asked for.
    """

    kind: ClassVar[str] = "lessons_written"
    session: str
    text: str
    n_designs: int
    account: str = ""
    cost_usd: float = 0.0
    models: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class DesignImplemented:
    """The checker found the design sane.

    Attributes:
        sizes: Each scale's size as plain data.
        fingerprint: Equal for designs that compute the same; "" where it was not taken.
        steps: Distances that only the check could measure, such as `behaviour`.
    """

    kind: ClassVar[str] = "design_implemented"
    design: str
    sizes: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    checker: str = ""
    fingerprint: str = ""
    steps: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class DesignRejected:
    """The checker found the design unsound."""

    kind: ClassVar[str] = "design_rejected"
    design: str
    findings: tuple[Mapping[str, Any], ...]
    checker: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class DesignTwinned:
    """A sane design computes what another one does: it inherits that one's results and uses no quota.

    Attributes:
        inherited_from: The design whose results count for it; itself no twin.
        steps: Distances that only the check could measure, such as `behaviour`.
    """

    kind: ClassVar[str] = "design_twinned"
    design: str
    inherited_from: str
    fingerprint: str = ""
    checker: str = ""
    sizes: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    steps: Mapping[str, float] = field(default_factory=dict)


_cost_of = lru_cache(maxsize=256)(Cost.of)  # what is set aside is the same for all runs of a scale


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaseGranted:
    """A run was handed out. `lease` is a fencing token: it only ever rises.

    `n_tokens` and `gpu_seconds` are the most that it can use; they are set aside from the run's caps until it ends.
    """

    kind: ClassVar[str] = "lease_granted"
    lease: int
    design: str
    scale: str
    holder: str
    seed: int = 0
    recipe: str = ""
    attempt: int = 1
    reason: str = ""
    n_tokens: int = 0
    gpu_seconds: float = 0.0

    @property
    def key(self) -> RunKey:
        return RunKey(self.design, self.scale, self.seed, self.recipe)

    @property
    def cost(self) -> Cost:
        """What is set aside for it."""
        return _cost_of(self.n_tokens, self.gpu_seconds)


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaseRefunded:
    """A run ended without a result through no fault of the design; its quota comes back, what it used does not."""

    kind: ClassVar[str] = "lease_refunded"
    lease: int
    cause: str
    reason: str = ""
    seconds: float = 0.0
    n_tokens: int = 0
    gpu_seconds: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class VerificationRecorded:
    """A run was committed; `metrics` are raw numbers, `report` the blob with all of it."""

    kind: ClassVar[str] = "verification_recorded"
    lease: int
    design: str
    scale: str
    metrics: Mapping[str, float]
    report: str
    seed: int = 0
    recipe: str = ""
    seconds: float = 0.0
    n_tokens: int = 0
    gpu_seconds: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class VerificationFailed:
    """A run failed through the design's own fault (diverged, out of memory, integrity); its quota stays spent."""

    kind: ClassVar[str] = "verification_failed"
    lease: int
    design: str
    scale: str
    cause: str
    reason: str = ""
    seed: int = 0
    recipe: str = ""
    seconds: float = 0.0
    n_tokens: int = 0
    gpu_seconds: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyFailed:
    """A strategy raised, overran its time or answered nonsense; the fallback decided instead."""

    kind: ClassVar[str] = "policy_failed"
    policy: str
    strategy: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RunDraining:
    """No new work is handed out; what runs may finish."""

    kind: ClassVar[str] = "run_draining"
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RunResumed:
    """A driver took the run up again after an interruption or a drain; `caps`, if any, hold from now on."""

    kind: ClassVar[str] = "run_resumed"
    reason: str = ""
    caps: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class RunFinished:
    """Quotas are spent, or nothing is left that could spend them."""

    kind: ClassVar[str] = "run_finished"
    reason: str


Event = (
    RunStarted
    | DesignProposed
    | ProposalFailed
    | SessionStarted
    | LessonsWritten
    | DesignImplemented
    | DesignRejected
    | DesignTwinned
    | LeaseGranted
    | LeaseRefunded
    | VerificationRecorded
    | VerificationFailed
    | PolicyFailed
    | RunDraining
    | RunResumed
    | RunFinished
)

EVENT_TYPES: Mapping[str, type[Event]] = {cls.kind: cls for cls in Event.__args__}


def n_failed_in_a_row(events: Iterable[Event], limit: float = inf) -> int:
    """How many proposals in a row gave nothing new; see `failed_in_a_row`."""
    n = 0
    for event in events:
        n = failed_in_a_row(n, event, limit)
    return n


def failed_in_a_row(n: int, event: Event, limit: float) -> int:
    """The number of proposals in a row that gave nothing new, after a further event.

    At the limit a run gives up: that stands, whatever comes late, until a driver takes the run up again.
    """
    if isinstance(event, RunResumed) or (isinstance(event, DesignImplemented) and n < limit):
        return 0
    return n + is_vain(event)


def is_vain(event: Event) -> bool:
    """Whether it ends an attempt at a design without one; that money or time ran out says nothing about designs."""
    if isinstance(event, ProposalFailed):
        return event.cause not in NO_FAULT_CAUSES and event.operator != LESSONS
    return isinstance(event, DesignRejected | DesignTwinned)


def event_to_json(event: Event) -> dict[str, Any]:
    """The event as plain data, with its kind and version."""
    data = {f.name: _plain(getattr(event, f.name)) for f in fields(event)}
    return {"kind": event.kind, "version": EVENT_VERSION} | data


def event_from_json(data: Mapping[str, Any]) -> Event:
    """Read what `event_to_json` wrote, in this or an earlier version. Mappings in it are taken over as they are.

    Raises:
        ConfigError: A kind this version does not know, or a journal of a later version.
    """
    kind = data["kind"]
    if kind not in EVENT_TYPES or data["version"] > EVENT_VERSION:
        raise ConfigError(
            f"Cannot read event {kind!r} of version {data['version']}: this Genesys knows versions up to "
            f"{EVENT_VERSION}. Read the run with the version that wrote it, or a later one."
        )
    names = (f.name for f in fields(EVENT_TYPES[kind]))
    return EVENT_MAKERS[kind](**{name: data[name] for name in names if name in data})


def _maker(cls: type[Event]) -> Callable[..., Event]:
    return maker(cls, tuples=tuple(f.name for f in fields(cls) if str(f.type).startswith("tuple")))


EVENT_MAKERS: Mapping[str, Callable[..., Event]] = {kind: _maker(cls) for kind, cls in EVENT_TYPES.items()}
"""By kind, what makes an event of its fields as JSON has them, with lists for tuples."""


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, tuple) else value
