"""`genesys runs`: the runs under a folder."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from genesys.cli._output import AsJson, print_json


def command(
    folder: Annotated[Path, typer.Argument(help="Where runs live.")] = Path("runs"),
    as_json: AsJson = False,
) -> None:
    """List runs: how far each is, and who leads."""
    from genesys.storage import RunStore

    paths = sorted(folder.iterdir()) if folder.is_dir() else []
    entries = [_entry(path) for path in paths if RunStore(path).exists]
    if as_json:
        print_json(entries)
        return
    for entry in entries:
        if "error" in entry:
            typer.echo(f"{entry['run']}: {entry['error']}")
            continue
        rungs = ", ".join(f"{n} at {scale}" for scale, n in entry["verified"].items())
        typer.echo(
            f"{entry['run']}: {entry['designs']} designs, verified {rungs}; best {entry['best'] or 'none yet'}; {entry['ended'] or 'not ended'}"
        )
    if not entries:
        typer.echo(f"No runs in {folder}. Start one: genesys evolve configs/quickstart.yaml")


def _entry(path: Path) -> dict[str, Any]:
    """A run as `{run, designs, verified, best, ended}`, or `{run, error}` when its journal cannot be read now."""
    from genesys.api import Run
    from genesys.errors import GenesysError
    from genesys.evolution.status import run_status

    try:
        status = run_status(Run(path).tree)
    except GenesysError as error:
        return {"run": path.name, "error": str(error)}
    verified = {scale.name: scale.verified for scale in status.scales}
    return {
        "run": path.name, "designs": status.n_designs, "verified": verified, "best": status.best_name, "ended": status.ended,
    }  # fmt: skip
