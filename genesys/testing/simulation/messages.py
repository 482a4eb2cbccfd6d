"""What simulated processes tell each other; the actors' own messages without their programs and references."""

from __future__ import annotations

from dataclasses import dataclass

from genesys.evolution.events import Event


@dataclass(frozen=True, slots=True)
class Appended:
    """Whether the books took an event, and why not."""

    accepted: bool
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Propose:
    operator: str
    parents: tuple[str, ...]
    seed: int


@dataclass(frozen=True, slots=True)
class Check:
    design: str
    is_seed: bool


@dataclass(frozen=True, slots=True)
class Verification:
    """One verification under a lease; `deadline_s` is the most that it may take."""

    lease: int
    design: str
    scale: str
    rung: int
    seed: int
    deadline_s: float


@dataclass(frozen=True, slots=True)
class Wait:
    reason: str
    seconds: float = 0.5


@dataclass(frozen=True, slots=True)
class Done:
    reason: str


@dataclass(frozen=True, slots=True)
class Submission:
    """Events of a designer, and the programs that they name."""

    events: tuple[Event, ...]
    blobs: tuple[bytes, ...] = ()
