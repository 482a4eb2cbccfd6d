"""Accounts of quotas: what may run at each scale, what runs, what has finished.

Pure bookkeeping over named scales; it knows neither what a design is nor what a run costs.
"""

from __future__ import annotations

from collections.abc import Collection, Hashable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal, NamedTuple, cast

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


class _Book:
    """What is kept for one account."""

    def __init__(self, quota: int) -> None:
        self.quota = self.left = quota
        self.counts: dict[Outcome, int] = {"reserved": 0, "committed": 0, "failed": 0}
        self.runs: dict[Hashable, Outcome] = {}
        self.recipe = ""  # of first runs, but for those that have one of their own
        self.own_recipes: dict[Hashable, str] = {}

    def recipe_of(self, design: str) -> str:
        return self.own_recipes.get(design, self.recipe) if self.own_recipes else self.recipe


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
        self._main = {scale: _Book(quota) for scale, quota in quotas.items()}
        self._replicates = {scale: _Book(extra.get(scale, 0)) for scale in quotas}

    @property
    def scales(self) -> tuple[str, ...]:
        return self._scales

    # --- entries -------------------------------------------------------------------------------------------

    def reserve(self, key: RunKey) -> None:
        """Set one run aside.

        Raises:
            BookkeepingError: Unknown scale, quota spent, or the key is out or finished.
        """
        book, name, found = self._find(key)
        if found is not None:
            raise BookkeepingError(f"Cannot reserve {_say(key)}: it is {found} already; expected one run a key.")
        if name in book.runs:
            raise BookkeepingError(
                f"Cannot reserve {_say(key)}: the design has a run there under another recipe; expected one a scale. "
                f"Use another seed for a replicate."
            )
        if book.left < 1:
            what = "runs" if key.seed == FIRST_SEED else "replicate runs"
            raise BookkeepingError(
                f"Cannot reserve {_say(key)}: {book.quota} of {book.quota} {what} are used; expected at least 1 left. "
                "Wait for a refund or raise the quota."
            )
        if not book.runs:
            book.recipe = key.recipe
        elif key.recipe != book.recipe:
            book.own_recipes[name] = key.recipe
        book.runs[name] = "reserved"
        book.left -= 1
        book.counts["reserved"] += 1

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
        book, name, found = self._find(key)
        if found != "reserved":
            raise BookkeepingError(
                f"Cannot close {_say(key)}: it is {found or 'not reserved'}; expected a reservation."
            )
        book.counts["reserved"] -= 1
        if outcome is not None:
            book.runs[name] = outcome
            book.counts[outcome] += 1
            return
        del book.runs[name]
        book.left += 1
        book.own_recipes.pop(name, None)

    def _find(self, key: RunKey) -> tuple[_Book, Hashable, Outcome | None]:
        """The book that a key belongs to, its name there, and what became of it; first runs go by their design alone."""
        design, scale, seed, recipe = key
        is_first = seed == FIRST_SEED
        book = (self._main if is_first else self._replicates).get(scale)
        if book is None:
            raise self._unknown(scale)
        if not is_first:
            return book, key, book.runs.get(key)
        return book, design, book.runs.get(design) if recipe == book.recipe_of(design) else None

    # --- reading -------------------------------------------------------------------------------------------

    def account(self, scale: str, *, replicates: bool = False) -> Account:
        """Where a scale stands.

        Raises:
            BookkeepingError: No such scale.
        """
        book = (self._replicates if replicates else self._main).get(scale)
        if book is None:
            raise self._unknown(scale)
        return Account(quota=book.quota, **book.counts)

    def _unknown(self, scale: str) -> BookkeepingError:
        return BookkeepingError(f"Cannot find scale {scale!r}; the run has {', '.join(self._scales) or 'none'}.")

    def state(self, key: RunKey) -> Outcome | None:
        """What became of a key; None when it is free.

        Raises:
            BookkeepingError: No such scale.
        """
        return self._find(key)[-1]

    def runs(self, scale: str) -> Mapping[str, Outcome]:
        """What became of the runs that count for a scale's quota, by design; not a copy."""
        return MappingProxyType(cast(dict[str, Outcome], self._main[scale].runs))

    def released(self, scale: str, *, settled: Collection[str] = ()) -> int:
        """How much of a scale's quota is open by now, used or not.

        A scale opens in proportion to what the one below has finished, rounded up, so that each rung's first run
        can start as soon as anything below it has finished, and the last one when all have. Above a settled scale,
        one that will finish nothing more, the whole quota is open: with fewer designs than quota the ladder still
        climbs to its top.
        """
        k = self._scales.index(scale)
        quota = self._main[scale].quota
        if k == 0 or self._scales[k - 1] in settled:
            return quota
        below = self.account(self._scales[k - 1])
        return min(quota, -(-quota * below.finished // below.quota)) if below.quota else 0

    def is_spent(self) -> bool:
        """Whether every scale's quota is finished, none merely reserved."""
        return all(self.account(scale).finished == self._main[scale].quota for scale in self._scales)


def _say(key: RunKey) -> str:
    return f"design {key.design[:12]!r} at {key.scale!r} (seed {key.seed})"
