"""The `genesys` command: one module for each verb, each importing what it needs when it runs."""

from __future__ import annotations

import sys

import typer

from genesys.cli import (
    ablate,
    ablations,
    agents,
    bench_agents,
    check,
    compare,
    data,
    design,
    doctor,
    evolve,
    explain,
    export,
    import_,
    leaderboard,
    operators,
    plan,
    replay,
    runs,
    serve,
    show,
    stop,
    tasks,
    tree,
    verify,
)
from genesys.errors import GenesysError

app = typer.Typer(
    help="Language models that discover better language models.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

for verb in (
    evolve,
    plan,
    check,
    design,
    verify,
    leaderboard,
    compare,
    ablate,
    ablations,
    tasks,
    show,
    explain,
    operators,
    agents,
    replay,
    bench_agents,
    serve,
    tree,
    export,
    import_,
    runs,
    stop,
    doctor,
):
    app.command(name=verb.__name__.rpartition(".")[2].rstrip("_").replace("_", "-"))(verb.command)
app.add_typer(data.app, name="data")


def main() -> None:
    """Run the command; a mistake of the user's ends in one sentence and exit code 2."""
    try:
        app()
    except GenesysError as error:
        sys.stderr.write(f"genesys: {error}\n")
        sys.exit(2)
    except KeyboardInterrupt:
        sys.stderr.write("genesys: interrupted\n")
        sys.exit(130)


__all__ = ["app", "main"]
