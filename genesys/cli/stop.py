"""`genesys stop RUN`: let a run finish what it does, and end."""

from __future__ import annotations

from typing import Annotated

import typer

from genesys.cli._output import AsJson, print_json


def command(
    run: Annotated[str, typer.Argument(help="A run's folder, or its name under runs/.")],
    as_json: AsJson = False,
) -> None:
    """Drain a run. Verifications that run may finish, nothing new starts."""
    from cluster.evolve import STOP_FILE
    from genesys.api import open_run
    from genesys.errors import ConfigError

    opened = open_run(run)
    if opened.tree.finished:
        raise ConfigError(f"Cannot stop run {opened.name!r}: it has ended ({opened.tree.finished}).")
    (opened.store.root / STOP_FILE).touch()
    if as_json:
        print_json({"run": opened.name, "stopping": True})
        return
    typer.echo(f"Asked {opened.name} to stop; its driver drains it within seconds. Go on later with --resume.")
