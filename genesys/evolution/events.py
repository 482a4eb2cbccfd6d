"""What can happen to an evolution: a closed, versioned set of events.

A journal is a sequence of these; everything else is derived from them. Fields are only ever added, with defaults, so
that old journals replay. Programs, reports and traces are blobs, named by the SHA-256 of their bytes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, ClassVar

from genesys.errors import ConfigError
from genesys.ladder.budget import Cost
from genesys.ladder.ledger import RunKey

EVENT_VERSION = 2


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


@dataclass(frozen=True, slots=True, kw_only=True)
class ProposalFailed:
    """A designer's attempt gave nothing new (a duplicate, no fitting edit); counted, so that attempts are capped."""

    kind: ClassVar[str] = "proposal_failed"
    designer: str
    operator: str
    reason: str
    duplicate_of: str = ""


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
        return Cost.of(self.n_tokens, self.gpu_seconds)


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


_FIELDS = {cls: frozenset(f.name for f in fields(cls)) for cls in EVENT_TYPES.values()}
_LISTED = {
    cls: names
    for cls in EVENT_TYPES.values()
    if (names := tuple(f.name for f in fields(cls) if str(f.type).startswith("tuple")))
}


def n_failed_in_a_row(events: Sequence[Event]) -> int:
    """How many proposals, the last ones, gave nothing new since a driver last took the run up."""
    n = 0
    for event in reversed(events):
        if isinstance(event, DesignImplemented | RunResumed):
            break
        n += isinstance(event, ProposalFailed | DesignRejected | DesignTwinned)
    return n


def event_to_json(event: Event) -> dict[str, Any]:
    """The event as plain data, with its kind and version."""
    data = {f.name: _plain(getattr(event, f.name)) for f in fields(event)}
    return {"kind": event.kind, "version": EVENT_VERSION} | data


def event_from_json(data: Mapping[str, Any]) -> Event:
    """Read what `event_to_json` wrote, in this or an earlier version. Mappings in it are taken over as they are.

    Raises:
        ConfigError: A kind this version does not know, or a journal of a later version.
    """
    cls = EVENT_TYPES.get(data["kind"])
    if cls is None or data["version"] > EVENT_VERSION:
        raise ConfigError(
            f"Cannot read event {data['kind']!r} of version {data['version']}: this Genesys knows versions up to "
            f"{EVENT_VERSION}. Read the run with the version that wrote it, or a later one."
        )
    known = _FIELDS[cls]
    values = {name: value for name, value in data.items() if name in known}
    for name in _LISTED.get(cls, ()):
        if name in values:
            values[name] = tuple(values[name])
    return cls(**values)


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, tuple) else value
