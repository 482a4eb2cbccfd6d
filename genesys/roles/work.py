"""What all parts of an implementation have at hand, and what they keep."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from dataclasses import dataclass, field
from typing import Any

from genesys.errors import Finding
from genesys.gau import UnitTree
from genesys.roles.account import Account
from genesys.roles.answers import ObserverTurn, ProposerTurn
from genesys.roles.brief import Brief
from genesys.roles.effects import Ask, Checked, Effect, Refusal
from genesys.roles.grafting import Draft, Place


class Ended(Exception):
    """Nothing more can be asked in this session; `implement` turns it into an outcome."""

    def __init__(self, cause: str, reason: str) -> None:
        self.cause, self.reason = cause, reason
        super().__init__(reason)


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """A unit to write: where, in what, and what it is to compute."""

    draft: Draft
    place: Place
    specification: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Coding:
    """A unit's code and what came of it.

    Attributes:
        tree: The whole with the unit in it; None where it is no unit or does not fit.
        passes: No error was found that is this unit's, and the observer's rating reaches the bar.
        blamed: The place of another unit of the session, to which all errors of a finished tree point.
        reason: Why there is no code, or no observation.
    """

    code: str = ""
    tree: UnitTree | None = None
    findings: tuple[Finding, ...] = ()
    observation: ObserverTurn | None = None
    passes: bool = False
    blamed: str | None = None
    reason: str = ""

    @property
    def is_sane(self) -> bool:
        return self.tree is not None and Checked(findings=self.findings).is_sane


@dataclass(slots=True)
class Notes:
    """What a session keeps while it runs; equal answers leave equal notes.

    Attributes:
        has_code: Whether a coder ever handed a unit in.
        verdicts: Of the checks, by design.
        loss_shares: What a probe training left of the first loss, by design; None where it gave nothing.
        codings: By specification and design; a design holds a unit's code together with its context.
    """

    account: Account = field(default_factory=Account)
    has_code: bool = False
    verdicts: dict[str, tuple[Finding, ...]] = field(default_factory=dict)
    loss_shares: dict[str, float | None] = field(default_factory=dict)
    codings: dict[tuple[str, str], Coding] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """One implementation: its task and its notes."""

    brief: Brief
    proposal: ProposerTurn
    common: Mapping[str, str]
    notes: Notes = field(default_factory=Notes)


def ask(work: Work, question: Ask) -> Generator[Effect, Any, Any]:
    """An answer, or a `Refusal` with which the session can go on.

    Raises:
        Ended: There is no money, or nobody to ask.
    """
    answer = yield from work.notes.account.ask(question)
    if isinstance(answer, Refusal) and answer.cause in ("money", "unavailable"):
        raise Ended("money" if answer.cause == "money" else "refused", answer.reason)
    return answer
