"""`genesys leaderboard RUN`."""

from __future__ import annotations

from typing import Annotated

import typer

from genesys.cli._output import AsJson, leaderboard_table, make_console, print_json


def command(
    run: Annotated[str, typer.Argument(help="A run's folder, or its name under runs/.")],
    limit: Annotated[int, typer.Option(help="How many rows.")] = 20,
    as_json: AsJson = False,
) -> None:
    """Show who leads: the highest rung first, fitness there second."""
    from genesys.api import open_run

    opened = open_run(run)
    rows = opened.leaderboard(limit)
    if as_json:
        print_json(rows)
        return
    make_console().print(leaderboard_table(rows, title=f"Leaderboard of {opened.name}"))
