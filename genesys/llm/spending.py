"""What a run's calls cost, summed for reports."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from genesys.llm.calls import NANO_PER_USD


@dataclass(frozen=True, slots=True, kw_only=True)
class Spent:
    """Calls and their money.

    Attributes:
        n_calls: Requests that were sent or may have been; denied ones are left out.
        n_answered, n_failed: Those with an answer, and those that failed and were free.
        n_denied: Calls for which a cap left no room.
        booked_nano: What counts against the caps.
        unsure_nano: The part of it that is booked at its maximum: in flight, lost, or timed out.
    """

    n_calls: int
    n_answered: int
    n_failed: int
    n_denied: int
    n_input: int
    n_output: int
    n_cached: int
    n_written: int
    booked_nano: int
    unsure_nano: int

    @property
    def usd(self) -> float:
        return self.booked_nano / NANO_PER_USD


@dataclass(frozen=True, slots=True, kw_only=True)
class Totals:
    """Everything, and the same by session, role, model, purpose and day (UTC, as `2026-11-21`)."""

    run: Spent
    sessions: dict[str, Spent]
    roles: dict[str, Spent]
    models: dict[str, Spent]
    purposes: dict[str, Spent]
    days: dict[str, Spent]


_SPENT = """
    COUNT(*) FILTER (WHERE state <> 'denied'), COUNT(*) FILTER (WHERE state = 'committed'),
    COUNT(*) FILTER (WHERE state = 'failed'), COUNT(*) FILTER (WHERE state = 'denied'),
    COALESCE(SUM(n_input), 0), COALESCE(SUM(n_output), 0), COALESCE(SUM(n_cached), 0), COALESCE(SUM(n_written), 0),
    COALESCE(SUM(booked_nano), 0),
    COALESCE(SUM(booked_nano) FILTER (WHERE state IN ('reserved', 'lost', 'unknown')), 0)"""


def totals(select: Callable[[str], list[tuple[Any, ...]]]) -> Totals:
    """Sum the calls of a book, given what runs a SELECT on it."""

    def by(key: str) -> dict[str, Spent]:
        rows = select(f"SELECT {key}, {_SPENT} FROM calls GROUP BY 1 ORDER BY 1")
        return {name: Spent(**dict(zip(Spent.__dataclass_fields__, row, strict=True))) for name, *row in rows}

    (run,) = select(f"SELECT {_SPENT} FROM calls")
    return Totals(
        run=Spent(**dict(zip(Spent.__dataclass_fields__, run, strict=True))),
        sessions=by("session"),
        roles=by("role"),
        models=by("model"),
        purposes=by("purpose"),
        days=by("date(COALESCE(ended_at, reserved_at), 'unixepoch')"),
    )
