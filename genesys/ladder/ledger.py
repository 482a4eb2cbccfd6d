"""Accounts of quotas: what may run at each scale, what runs, what has finished.

Pure bookkeeping over named scales; it knows neither what a design is nor what a run costs.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Literal, NamedTuple

from genesys.errors import GenesysError

FIRST_SEED = 0


class BookkeepingError(GenesysError, ValueError):
    """An entry would break a law of the books; nothing was changed."""


class RunKey(NamedTuple):
    """What is committed at most once. A seed other than 0 is a replicate and draws on the replicates' quota."""

    design: str
    scale: str
    seed: int = FIRST_SEED
    recipe: str = ""


Outcome = Literal["reserved", "committed", "failed"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """Where one scale stands, in designs. `reserved + committed + failed <= quota` always holds."""

    quota: int
    reserved: int = 0
    committed: int = 0
    failed: int = 0

    @property
    def finished(self) -> int:
        return self.committed + self.failed

    @property
    def used(self) -> int:
        return self.reserved + self.committed + self.failed

    @property
    def left(self) -> int:
        """What may still be reserved, ever, if nothing is refunded."""
        return self.quota - self.used


class Ledger:
    """Quotas of the scales from the bottom up: reserve, then exactly one of commit, fail and refund.

    Guarantees: no account passes its quota; a key is reserved by one holder at a time and finished at most once; a
    design counts once per scale, whatever its recipe. A refused entry changes nothing. Not safe for threads: the
    tree that owns it is its only writer.

    Args:
        quotas: Designs per scale, bottom first.
        replicate_quotas: Runs with further seeds per scale; scales not named have none.
    """

    def __init__(self, quotas: Mapping[str, int], replicate_quotas: Mapping[str, int] | None = None) -> None:
        extra = replicate_quotas or {}
        self._scales = tuple(quotas)
        self._quotas = {(s, main): q for s in quotas for main, q in ((True, quotas[s]), (False, extra.get(s, 0)))}
        self._counts: dict[tuple[str, bool], dict[Outcome, int]] = {
            a: {"reserved": 0, "committed": 0, "failed": 0} for a in self._quotas
        }
        self._left = dict(self._quotas)
        self._state: dict[RunKey, Outcome] = {}
        self._first: dict[str, set[str]] = {scale: set() for scale in quotas}

    @property
    def scales(self) -> tuple[str, ...]:
        return self._scales

    # --- entries -------------------------------------------------------------------------------------------

    def reserve(self, key: RunKey) -> None:
        """Set one run aside.

        Raises:
            BookkeepingError: Unknown scale, quota spent, or the key is out or finished.
        """
        design, scale, seed, _ = key
        main = seed == FIRST_SEED
        left = self._left.get((scale, main))
        if left is None:
            raise self._unknown(scale)
        if key in self._state:
            raise BookkeepingError(
                f"Cannot reserve {_say(key)}: it is {self._state[key]} already; expected one run a key."
            )
        if main and design in self._first[scale]:
            raise BookkeepingError(
                f"Cannot reserve {_say(key)}: the design has a run there under another recipe; expected one a scale. "
                f"Use another seed for a replicate."
            )
        if left < 1:
            quota = self._quotas[scale, main]
            raise BookkeepingError(
                f"Cannot reserve {_say(key)}: {quota} of {quota} {'' if main else 'replicate '}runs are used; expected "
                "at least 1 left. Wait for a refund or raise the quota."
            )
        self._state[key] = "reserved"
        self._left[scale, main] = left - 1
        self._counts[scale, main]["reserved"] += 1
        if main:
            self._first[scale].add(design)

    def commit(self, key: RunKey) -> None:
        """Turn a reservation into a committed run; it is never given back."""
        self._close(key, "committed")

    def fail(self, key: RunKey) -> None:
        """Turn a reservation into a run that failed by its own fault; its quota stays spent."""
        self._close(key, "failed")

    def refund(self, key: RunKey) -> None:
        """Give a reservation back; the key may be reserved again."""
        self._close(key, None)

    def _close(self, key: RunKey, outcome: Outcome | None) -> None:
        found = self._state.get(key)
        if found != "reserved":
            raise BookkeepingError(
                f"Cannot close {_say(key)}: it is {found or 'not reserved'}; expected a reservation."
            )
        account = key.scale, key.seed == FIRST_SEED
        counts = self._counts[account]
        counts["reserved"] -= 1
        if outcome is not None:
            self._state[key] = outcome
            counts[outcome] += 1
            return
        del self._state[key]
        self._left[account] += 1
        if key.seed == FIRST_SEED:
            self._first[key.scale].discard(key.design)

    # --- reading -------------------------------------------------------------------------------------------

    def account(self, scale: str, *, replicates: bool = False) -> Account:
        """Where a scale stands.

        Raises:
            BookkeepingError: No such scale.
        """
        if (scale, True) not in self._quotas:
            raise self._unknown(scale)
        counts = self._counts[scale, not replicates]
        return Account(
            quota=self._quotas[scale, not replicates],
            reserved=counts["reserved"], committed=counts["committed"], failed=counts["failed"],
        )  # fmt: skip

    def _unknown(self, scale: str) -> BookkeepingError:
        return BookkeepingError(f"Cannot find scale {scale!r}; the run has {', '.join(self._scales) or 'none'}.")

    def state(self, key: RunKey) -> Outcome | None:
        """What became of a key; None when it is free."""
        return self._state.get(key)

    def released(self, scale: str, *, settled: Collection[str] = ()) -> int:
        """How much of a scale's quota is open by now, used or not.

        A scale opens in proportion to what the one below has finished, rounded up, so that each rung's first run
        can start as soon as anything below it has finished, and the last one when all have. Above a settled scale,
        one that will finish nothing more, the whole quota is open: with fewer designs than quota the ladder still
        climbs to its top.
        """
        k = self._scales.index(scale)
        quota = self._quotas[scale, True]
        if k == 0 or self._scales[k - 1] in settled:
            return quota
        below = self.account(self._scales[k - 1])
        return min(quota, -(-quota * below.finished // below.quota)) if below.quota else 0

    def is_spent(self) -> bool:
        """Whether every scale's quota is finished, none merely reserved."""
        return all(self.account(scale).finished == self._quotas[scale, True] for scale in self._scales)


def _say(key: RunKey) -> str:
    return f"design {key.design[:12]!r} at {key.scale!r} (seed {key.seed})"
