"""What a session asks of the world: it yields one of these, and is sent what came of it.

A session is a generator without I/O. Whoever drives it (a designer, a test, a replay) performs each effect and sends its
result back. `Gather` performs several at once and is answered by their results in order. No effect raises into a session:
what can go wrong is a value (`Refusal`, findings).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, is_dataclass
from typing import Any, Literal

from genesys.errors import Finding
from genesys.gau import UnitTree
from genesys.roles.prompt import Prompt

Role = Literal["proposer", "reviewer", "judge", "planner", "coder", "observer", "scribe"]
"""Who is asked: `judge` is a reviewer of another model family, `scribe` keeps the lessons."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """Ask a role's language model for an answer of a given form; gives an instance of `answer`, or a `Refusal`.

    Attributes:
        answer: A frozen dataclass of `genesys.roles.answers`; its fields and docstrings are the schema that the model is shown.
        sample: Numbers further answers to an equal prompt, so that each is asked for anew.
    """

    role: Role
    prompt: Prompt
    answer: type[Any]
    sample: int = 0


RefusalCause = Literal["malformed", "declined", "unavailable", "money", "too-long"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """No answer came.

    Attributes:
        cause: `malformed` after the repair turn and every other model, `declined` by the model itself, `unavailable` when
            no endpoint answered, `money` when a cap leaves no room for the call, `too-long` when the prompt does not fit.
        cap: Of `money`, which one: `call`, `session`, `role`, `day` or `run`.
        cost_nano, n_calls: What the asking cost all the same, in nano-dollars, and its requests.
    """

    cause: RefusalCause
    reason: str
    cap: str = ""
    cost_nano: int = 0
    n_calls: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """Claim a design for this run before anybody is paid for it; gives the id of an equal one that exists, or ""."""

    tree: UnitTree


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """Have a tree checked in the cage; gives a `Checked`.

    Attributes:
        depth: `static` reads the root of what is new, `unit` runs its own tests and builds it, `full` runs every cheap stage.
        partial: Whether open slots are filled with placeholders.
    """

    tree: UnitTree
    depth: Literal["static", "unit", "full"] = "full"
    partial: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    """What the checker said; `report` is its whole report as plain data where a full check gave one."""

    findings: tuple[Finding, ...]
    report: Mapping[str, Any] = field(default_factory=dict)

    @property
    def is_sane(self) -> bool:
        return not any(finding.severity == "error" for finding in self.findings)


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """Train a tree, open slots filled, for some seconds; gives its loss over a blind guess's, or None."""

    tree: UnitTree


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """Measure a tree's cost at the bottom scale; gives text for a language model."""

    tree: UnitTree


@dataclass(frozen=True, slots=True, kw_only=True)
class Derive:
    """Evaluate a SymPy program in the cage; gives what it printed, or why it gave nothing."""

    program: str


Source = Literal["unit", "design", "failure", "paper"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Search:
    """Look for the passages nearest to a text; gives a tuple of `Passage`, nearest first.

    Attributes:
        n_tokens: The most that all of them together may fill.
    """

    query: str
    sources: tuple[Source, ...] = ("unit", "design", "failure")
    n: int = 4
    n_tokens: int = 2000


@dataclass(frozen=True, slots=True, kw_only=True)
class Passage:
    """A retrieved text. It is data, whoever wrote it: prompts fence it.

    Attributes:
        name: What to cite it by: a unit's name, a design's id, a paper's key.
        similarity: To the query, from 0 to 1.
    """

    source: Source
    name: str
    title: str
    text: str
    similarity: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Embed:
    """Embed texts; gives a vector for each, in their order, or () where the run has no model for it or none answered."""

    texts: tuple[str, ...]


Stage = Literal["proposal", "review", "plan", "code", "check", "observe", "lessons", "end"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Tell:
    """Tell whoever watches how far the session is; gives None."""

    stage: Stage
    text: str
    tree: UnitTree | None = None


Single = Ask | Claim | Check | Probe | Profile | Derive | Search | Embed | Tell


@dataclass(frozen=True, slots=True)
class Gather:
    """Several effects at once; gives the tuple of their results."""

    effects: tuple[Single, ...]


Effect = Single | Gather


def effect_hash(effect: Single) -> str:
    """SHA-256 of everything that decides an effect's result."""
    return hashlib.sha256(json.dumps(_plain(effect), sort_keys=True).encode()).hexdigest()


def _plain(value: Any) -> Any:
    if isinstance(value, UnitTree):
        return {"tree": value.design_id}
    if isinstance(value, type):
        return value.__name__
    if is_dataclass(value) and not isinstance(value, type):
        return {"is": type(value).__name__} | {
            name: _plain(getattr(value, name)) for name in value.__dataclass_fields__
        }
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, tuple | list) else value
