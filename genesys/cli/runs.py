"""`genesys runs`: the runs under a folder."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from genesys.cli._output import AsJson, counted, print_json


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
        rungs = ", ".join(
            f"{n} at {scale}" + (f" ({failed} failed)" if (failed := entry["failed"][scale]) else "")
            for scale, n in entry["verified"].items()
        )
        typer.echo(
            f"{entry['run']}: {counted(entry['designs'], 'design')}, verified {rungs}; best {entry['best'] or 'none yet'}; "
            f"{entry['ended'] or 'not ended'}"
        )
    if not entries:
        typer.echo(f"No runs in {folder}. Start one: genesys evolve configs/quickstart.yaml")


def _entry(path: Path) -> dict[str, Any]:
    """A run as `{run, designs, verified, failed, best, ended}`, or `{run, error}` when its journal cannot be read now."""
    from genesys.api import Run
    from genesys.errors import GenesysError
    from genesys.evolution.status import run_status

    try:
        status = run_status(Run(path).tree)
    except GenesysError as error:
        return {"run": path.name, "error": str(error)}
    return {
        "run": path.name, "designs": status.n_designs, "verified": {s.name: s.verified for s in status.scales},
        "failed": {s.name: s.failed for s in status.scales}, "best": status.best_name, "ended": status.ended,
    }  # fmt: skip
