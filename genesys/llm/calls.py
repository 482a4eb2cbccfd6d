"""One paid call from its reservation to its booking, and who keeps the books of them.

Money is counted in whole nano-dollars, so that sums are exact. A call's id is made of everything that decides it, so
that a session which is taken up again meets its own calls and is given their answers instead of paying again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from genesys.errors import GenesysError

NANO_PER_USD = 1_000_000_000
CALLS_FILE = "calls.sqlite"
"""The books of a run's calls, in its folder."""

CallFailure = Literal["rate-limited", "unavailable", "timeout", "refused", "forbidden", "too-long", "bad-request"]
"""`refused` for what was asked; `forbidden` for who asks: no key, no money with the provider, no such model. `timeout` and a
broken connection leave open whether the provider charges, so that they stay booked in full; the others are certain to be free."""

CallEnd = CallFailure | Literal["cancelled"]
"""How a call ends without an answer; `cancelled` when its asker went away after it was sent. That says nothing of its model: it
stays booked in full, and is asked again when its session is taken up."""


class MoneyError(GenesysError, RuntimeError):
    """The books met what its callers must never do; whatever was really spent is booked nevertheless."""


class StaleError(GenesysError, RuntimeError):
    """A session asks another question than it did at the same step before, or a replay what was never recorded: it is not
    the session of then. It ends as `stale`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """A request to one endpoint, before it is sent.

    Attributes:
        id: SHA-256 of session, step, attempt, model, seed, schema and messages.
        step: Of the session, such as `7` or `7.2`.
        attempt: Counts requests within the step: repairs, retries, other models.
        purpose: `answer`, `repair`, `embedding` or `search`.
        n_input_bound, n_output_bound: The most tokens that it can be charged for.
        max_nano: The most that it can cost, at the prices stored with the run.
    """

    id: str
    session: str
    step: str
    attempt: int
    role: str
    purpose: Literal["answer", "repair", "embedding", "search"]
    model: str
    prompt_version: str
    schema: str
    seed: int
    n_input_bound: int
    n_output_bound: int
    max_nano: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """What the provider says it charged for.

    Attributes:
        n_cached, n_written: Of the input tokens, those found in its cache, and those put there.
    """

    n_input: int
    n_output: int
    n_cached: int = 0
    n_written: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Granted:
    """The money is set aside; send it after `delay_s`. `token` books its end, once."""

    token: int
    delay_s: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """This call was answered before: nothing is paid."""

    response: Mapping[str, Any]
    usage: Usage
    cost_nano: int


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownFailure:
    """This call failed before, and the session went on without it."""

    cause: CallFailure
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Denied:
    """A cap leaves no room: `cap` says which, the reason how much was left and how much is needed.

    Attributes:
        may_pass: Whether there would be room without what is set aside for calls on their way, most of which will cost less.
    """

    cap: Literal["call", "session", "role", "day", "run"]
    reason: str
    may_pass: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Remembered:
    """The result of one effect of a session that is no call, as plain data."""

    step: str
    effect: str  # effect_hash
    result: Any


class Treasury(Protocol):
    """Keeps the books of calls; durable before it answers. One for a run, behind an actor; or in-process."""

    async def reserve(self, call: Call) -> Granted | Known | KnownFailure | Denied:
        """Set aside the most that a call can cost, and a place in its model's rate limits.

        Raises:
            StaleError: At the same step and attempt, its session was told of another call.
        """
        ...

    async def commit(self, token: int, response: Mapping[str, Any], usage: Usage, cost_nano: int) -> None:
        """Book what a call cost, with its answer. A token that ended before changes nothing."""
        ...

    async def fail(self, token: int, cause: CallEnd, reason: str, retry_after_s: float = 0.0) -> None:
        """Book a call without an answer: in full when its cause leaves open whether it is charged, else free.

        `retry_after_s` holds back everybody's calls to its model.
        """
        ...

    async def memory(self, session: str) -> tuple[Remembered, ...]:
        """What a session's effects gave before."""
        ...

    async def remember(self, session: str, remembered: Remembered) -> None: ...

    async def spent(self, session: str) -> int:
        """Nano-dollars that are booked for a session's calls, those that were lost with their process included."""
        ...
