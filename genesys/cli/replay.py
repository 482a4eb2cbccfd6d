"""`genesys replay RUN`: do a run's recorded sessions of language models end again as they did?"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from genesys.cli._output import AsJson, counted, make_console, print_json, print_notes

if TYPE_CHECKING:
    from genesys.cli._replaying import Replayed

_EXIT_DIFFERS = 1
_MOST_SHOWN = 200


def command(
    run: Annotated[str, typer.Argument(help="A run's folder, or its name under runs/.")],
    as_json: AsJson = False,
) -> None:  # fmt: skip
    """Take the sessions of a run again, offline, from its books. Exit code 0 when the same comes out, 1 when not."""
    from genesys.api import open_run
    from genesys.cli._replaying import replay

    opened = open_run(run)
    found = asyncio.run(replay(opened))
    n_same = sum(session.is_same for session in found)
    if as_json:
        rows = [asdict(session) | {"is_same": session.is_same} for session in found]
        print_json({"run": opened.name, "n": len(found), "n_same": n_same, "sessions": rows})
    else:
        print_notes(make_console(), _notes(found, len(opened.tree.open_sessions)))
    sys.exit(0 if n_same == len(found) else _EXIT_DIFFERS)


def _notes(found: Sequence[Replayed], n_open: int) -> Iterator[str]:
    if not found:
        yield "No session of language models ended in this run."
        return
    for session in found:
        if not session.is_same:
            yield f"{session.session} ({session.operator}) differs: {session.reason or _told(session.differs)}"
    n_same, n_calls = sum(session.is_same for session in found), sum(session.n_calls for session in found)
    yield (
        f"{n_same} of {counted(len(found), 'session')} ended as the journal says; {counted(n_calls, 'call')} answered from the "
        f"books, none sent."
    )
    if n_open:
        yield (
            f"{counted(n_open, 'session')} had not ended and is left out."
            if n_open == 1
            else f"{n_open} sessions had not ended and are left out."
        )


def _told(differs: Mapping[str, tuple[Any, Any]]) -> str:
    return "; ".join(f"{name} was {_cut(before)}, is {_cut(now)}" for name, (before, now) in differs.items())


def _cut(value: object) -> str:
    text = repr(value)
    return text if len(text) <= _MOST_SHOWN else text[: _MOST_SHOWN - 1] + "…"
