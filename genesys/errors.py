"""The errors Genesys raises on purpose, and the findings that stand in for errors of generated code.

GenesysError
├── ConfigError       the user's mistake, met at the door
├── InterfaceError    an edit or a composition in which two units do not fit
├── UnitError         a text that is not a unit; carries findings
├── JobFailed         a caged child process that gave no result; carries a cause
├── FencedError       a second writer met the journal of a run
└── TransientError    infrastructure; may be tried again
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

Severity = Literal["error", "warning"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing the checker has to say about generated code, written for whoever must repair it.

    `unit` is the class name, `path` the slot path in the tree ("" is the root), `line` counts from 1 in
    the unit's own source.
    """

    rule: str
    measured: str
    required: str
    hint: str
    unit: str = ""
    path: str = ""
    line: int | None = None
    severity: Severity = "error"

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    def __str__(self) -> str:
        place = self.unit + (f":{self.line}" if self.line else "")
        return f"[{self.rule}] {place}: measured {self.measured}; required {self.required}. {self.hint}".strip()


class GenesysError(Exception):
    """Root of all errors raised on purpose."""


class ConfigError(GenesysError, ValueError):
    """The user asked for something that cannot be; the message says what and what to do."""


class InterfaceError(GenesysError, ValueError):
    """Two units do not fit: a slot, a kind or a name of `Z` disagrees."""


class UnitError(GenesysError, ValueError):
    """A text does not define exactly one well-formed unit."""

    def __init__(self, findings: Iterable[Finding]) -> None:
        self.findings = tuple(findings)
        super().__init__("; ".join(map(str, self.findings)))

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.findings,)


FailureCause = Literal[
    "non-finite",
    "spike",
    "diverged",
    "slow",
    "shape",
    "out-of-memory",
    "timeout",
    "error",
    "over-limit",
    "denied",
    "killed",
    "integrity",
    "infrastructure",
]


CAUSES: tuple[FailureCause, ...] = get_args(FailureCause)
INFRASTRUCTURE_CAUSES: frozenset[FailureCause] = frozenset({"killed", "infrastructure"})
"""Causes for which no design is to blame; the same job may be tried again."""


class JobFailed(GenesysError, RuntimeError):
    """A child process ended without a result.

    `cause` says whose fault it was: everything but "infrastructure" and "killed" counts against the design.
    """

    def __init__(self, cause: FailureCause, message: str) -> None:
        self.cause = cause
        super().__init__(message)

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.cause, str(self))


class FencedError(GenesysError, RuntimeError):
    """This writer was overtaken by another; it must stop."""


class TransientError(GenesysError, RuntimeError):
    """Infrastructure failed; the same call may succeed later."""


def suggest(word: str, known: Iterable[str]) -> str:
    """Give " Did you mean 'x'?" for the nearest known word, or ""."""
    near = difflib.get_close_matches(word, list(known), n=1)
    return f" Did you mean {near[0]!r}?" if near else ""
