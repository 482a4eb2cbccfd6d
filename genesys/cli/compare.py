"""`genesys compare RUN A B`: two designs, paired over training seeds."""

from __future__ import annotations

from typing import Annotated

import typer

from genesys.cli._output import AsJson, make_console, print_json, print_notes
from genesys.cli._statistics import comparison_notes, comparison_table


def command(
    run: Annotated[str, typer.Argument(help="A run's folder, or its name under runs/.")],
    a: Annotated[str, typer.Argument(help="A design's name, its id or the beginning of its id.")],
    b: Annotated[str, typer.Argument(help="The design to compare it with.")],
    scale: Annotated[str | None, typer.Option(help="The highest that they share, by default.")] = None,
    best_of: Annotated[
        int | None,
        typer.Option(help="From how many designs these were picked by their results; 1 if fixed beforehand."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Compare two designs over the training seeds of both."""
    from genesys.api import open_run
    from genesys.errors import ConfigError

    if best_of is not None and not best_of >= 1:
        raise ConfigError(f"Cannot correct for the best of {best_of} designs; expected 1 or more.")
    found = open_run(run).compare(a, b, scale, best_of=best_of)
    if as_json:
        print_json(found)
        return
    console = make_console()
    console.print(comparison_table(found))
    print_notes(console, comparison_notes(found))
