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
    from genesys.api import Run
    from genesys.evolution.status import run_status

    found = [Run(path.parent) for path in sorted(folder.glob("*/journal.sqlite"))]
    entries: list[dict[str, Any]] = []
    for run in found:
        status = run_status(run.tree)
        verified = {scale.name: scale.verified for scale in status.scales}
        entries.append({
            "run": run.name, "designs": status.n_designs, "verified": verified, "best": status.best_name, "ended": status.ended,
        })  # fmt: skip
    if as_json:
        print_json(entries)
        return
    for entry in entries:
        rungs = ", ".join(f"{n} at {scale}" for scale, n in entry["verified"].items())
        typer.echo(
            f"{entry['run']}: {entry['designs']} designs, verified {rungs}; best {entry['best'] or 'none yet'}; {entry['ended'] or 'not ended'}"
        )
    if not entries:
        typer.echo(f"No runs in {folder}. Start one: genesys evolve configs/quickstart.yaml")
