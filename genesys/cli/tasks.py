"""`genesys tasks RUN`: what each task and probe tells, for what it costs."""

from __future__ import annotations

from typing import Annotated

import typer

from genesys.cli._output import AsJson, make_console, print_json, print_notes
from genesys.cli._statistics import tasks_notes, tasks_table


def command(
    run: Annotated[str, typer.Argument(help="A run's folder, or its name under runs/.")],
    scale: Annotated[str | None, typer.Option(help="Where most designs were verified, by default.")] = None,
    suite: Annotated[
        str | None, typer.Option(help="Say which tasks of this suite a final comparison may still use.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Measure what each task tells, and propose a suite. Signal, noise and cost of each are shown."""
    from genesys.api import open_run

    found = open_run(run).tasks(scale, candidates=_names(suite) if suite else ())
    if as_json:
        print_json(found)
        return
    console = make_console()
    console.print(tasks_table(found))
    print_notes(console, tasks_notes(found, suite))


def _names(suite: str) -> list[str]:
    from genesys.evaluate.harness.suites import load_suite

    return [entry.task for entry in load_suite(suite).tasks]
