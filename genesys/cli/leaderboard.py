"""`genesys leaderboard RUN`."""

from __future__ import annotations

from typing import Annotated

import typer

from genesys.cli._ending import failure_notes, fitness_note, reference_of, unrated_note
from genesys.cli._output import AsJson, leaderboard_notes, leaderboard_table, make_console, print_json, print_notes
from genesys.cli._statistics import groups_table, winners_table


def command(
    run: Annotated[str, typer.Argument(help="A run's folder, or its name under runs/.")],
    limit: Annotated[int, typer.Option(help="How many rows.")] = 20,
    tasks: Annotated[bool, typer.Option("--tasks", help="Also the highest design on each task and probe.")] = False,
    groups: Annotated[bool, typer.Option("--groups", help="Also seeds against discovered designs.")] = False,
    scale: Annotated[str | None, typer.Option(help="Scale of --tasks and --groups; the highest by default.")] = None,
    as_json: AsJson = False,
) -> None:
    """Show who leads: the highest rung first, fitness there second."""
    from genesys.api import open_run
    from genesys.errors import ConfigError

    if limit < 1:
        raise ConfigError(f"Cannot show {limit} rows; expected 1 or more.")
    if scale is not None and not (tasks or groups):
        raise ConfigError("Cannot use --scale for the leaderboard itself, which spans all. Add --tasks or --groups.")
    opened = open_run(run)
    rows, lead = opened.leaderboard(limit), opened.lead()
    winners = opened.winners(scale) if tasks else None
    contest = opened.groups(scale) if groups else None
    if as_json:
        more = {"lead": lead, "winners": winners, "groups": contest}
        print_json({"rows": rows, **more} if tasks or groups else rows)
        return
    console = make_console()
    print_notes(console, failure_notes(opened))
    if not rows:
        print_notes(console, [unrated_note(opened)])
        return
    console.print(leaderboard_table(rows, title=f"Leaderboard of {opened.name}"))
    print_notes(console, leaderboard_notes(rows, lead, reference_of(opened.tree)))
    if not opened.tree.reference:
        print_notes(console, [fitness_note(opened.tree)])
    if winners is not None:
        console.print("", winners_table(winners))
    if contest is not None:
        console.print("", groups_table(contest))
