"""What a session keeps for its record: who was asked, how often to any use, and what was said."""

from __future__ import annotations

from collections import Counter
from collections.abc import Generator, Iterable, Mapping
from dataclasses import asdict
from typing import Any

from genesys.roles.brief import Attempt
from genesys.roles.effects import Ask, Effect, Refusal


class Account:
    """A stage's record while it runs; entries are plain data, each with `what` and, where one spoke, its `role`."""

    def __init__(self) -> None:
        self.log: list[Mapping[str, object]] = []
        self._n_asked: Counter[str] = Counter()
        self._n_useful: Counter[str] = Counter()

    @property
    def attempts(self) -> tuple[Attempt, ...]:
        return tuple(
            Attempt(role=role, n_asked=n, n_useful=self._n_useful[role]) for role, n in sorted(self._n_asked.items())
        )

    def ask(self, ask: Ask) -> Generator[Effect, Any, Any]:
        """Yield the question, note what came, and give it."""
        said = yield ask
        self._n_asked[ask.role] += 1
        if isinstance(said, Refusal):
            self.note("refusal", role=ask.role, cause=said.cause, reason=said.reason, cap=said.cap)
        else:
            self._n_useful[ask.role] += 1
            self.note("answer", role=ask.role, said=asdict(said))
        return said

    def useless(self, role: str) -> None:
        """The role's last answer was of no use after all."""
        self._n_useful[role] -= 1

    def note(self, what: str, **details: object) -> None:
        self.log.append({"what": what, **details})


def merged(*attempts: Iterable[Attempt]) -> tuple[Attempt, ...]:
    """The attempts of several stages, summed by role."""
    n_asked: Counter[str] = Counter()
    n_useful: Counter[str] = Counter()
    for attempt in (attempt for stage in attempts for attempt in stage):
        n_asked[attempt.role] += attempt.n_asked
        n_useful[attempt.role] += attempt.n_useful
    return tuple(Attempt(role=role, n_asked=n, n_useful=n_useful[role]) for role, n in sorted(n_asked.items()))
