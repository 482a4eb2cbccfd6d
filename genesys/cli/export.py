"""`genesys export RUN DESIGN --to py`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from genesys.cli._output import AsJson, print_json


def command(
    run: Annotated[str, typer.Argument(help="A run's folder, or its name under runs/.")],
    design: Annotated[str, typer.Argument(help="A design's name, its id or the beginning of its id.")],
    to: Annotated[str, typer.Option(help="py: one self-contained Python file.")] = "py",
    scale: Annotated[str | None, typer.Option(help="Size of the model; the lowest scale by default.")] = None,
    out: Annotated[Path | None, typer.Option(help="File to write; DESIGN.py by default.")] = None,
    as_json: AsJson = False,
) -> None:
    """Write a design as one Python file that needs torch alone."""
    from genesys.api import open_run
    from genesys.errors import ConfigError

    if to != "py":
        raise ConfigError(f"Cannot export to {to!r}; expected py.")
    found = open_run(run).design(design)
    path = out or Path(f"{found.name}.py")
    path.write_text(found.source(scale), encoding="utf-8")
    if as_json:
        print_json({"design": found.id, "path": str(path)})
        return
    typer.echo(f"Wrote {path}. In Python: from {path.stem.replace('-', '_')} import build; model = build()")
