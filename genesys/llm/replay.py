"""A run's calls read back: sessions take the same way again, offline and for nothing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NoReturn

from genesys.llm.book import CallBook
from genesys.llm.calls import Call, CallEnd, Denied, Known, KnownFailure, Remembered, StaleError, Usage


class ReplayTreasury:
    """A `Treasury` that answers from the books of a run and enters nothing.

    Guarantees: no call is granted, so that none is sent; what was never recorded is a StaleError. It reads what stands
    in the file at that moment. A call that was denied and made later is replayed as it was made.

    Args:
        book: Opened as a reader.
    """

    def __init__(self, book: CallBook) -> None:
        self._book = book

    async def reserve(self, call: Call) -> Known | KnownFailure | Denied:
        recorded = self._book.known(call.id) or self._book.denial(call.id)
        if recorded is None:
            raise StaleError(
                f"Cannot replay attempt {call.attempt} of step {call.step} of session {call.session!r} ({call.role}, "
                f"{call.model}): {self._book.path.name} holds no such call that ended. Was it made by this version?"
            )
        return recorded

    async def commit(self, token: int, response: Mapping[str, Any], usage: Usage, cost_nano: int) -> NoReturn:
        raise StaleError(f"Cannot commit call {token}: a replay grants none.")

    async def fail(self, token: int, cause: CallEnd, reason: str, retry_after_s: float = 0.0) -> NoReturn:
        raise StaleError(f"Cannot fail call {token}: a replay grants none.")

    async def memory(self, session: str) -> tuple[Remembered, ...]:
        return self._book.memory(session)

    async def spent(self, session: str) -> int:
        return self._book.spent(session)

    async def remember(self, session: str, remembered: Remembered) -> None:
        """Nothing, for what stands there already."""
        if remembered not in self._book.memory(session):
            raise StaleError(
                f"Cannot replay step {remembered.step} of session {session!r}: {self._book.path.name} does not remember it."
            )
