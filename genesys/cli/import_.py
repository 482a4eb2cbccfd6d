"""`genesys import PATH`: read published designs into design files of ours."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from genesys.cli._output import AsJson, counted, print_json

if TYPE_CHECKING:
    from genesys.importer import ImportedDesign


def command(
    path: Annotated[Path, typer.Argument(help="An implementation.json, or a folder with such files below it.")],
    to: Annotated[Path, typer.Option(help="Folder for the imported designs, one .json each.")] = Path("imported"),
    as_json: AsJson = False,
) -> None:
    """Import published designs. Exit code 0 all imported, 1 some failed, 2 nothing to import."""
    from genesys.importer import import_designs

    rows = list(_written(import_designs(path), to))
    if as_json:
        print_json(rows)
    else:
        for row in rows:
            _print(row)
    n_failed = sum(row["outcome"] == "failed" for row in rows)
    if not as_json:
        typer.echo(
            f"{len(rows) - n_failed} of {counted(len(rows), 'design')} imported to {to}."
            if rows
            else f"No designs at {path}."
        )
    sys.exit(2 if not rows else 1 if n_failed else 0)


def _written(designs: Iterable[ImportedDesign], to: Path) -> Iterable[dict[str, Any]]:
    """Write each design that was imported; a name that is taken gets a number."""
    taken: set[str] = set()
    for design in designs:
        row: dict[str, Any] = {"name": design.name, "outcome": design.outcome, "source": str(design.file)}
        row["findings"] = [finding.to_json() for finding in design.findings]
        if design.tree is not None:
            stem = re.sub(r"[^\w.-]+", "-", design.name).strip("-.") or "design"
            stem = next(s for n in range(1, len(taken) + 2) if (s := stem if n == 1 else f"{stem}-{n}") not in taken)
            taken.add(stem)
            to.mkdir(parents=True, exist_ok=True)
            out = to / f"{stem}.json"
            out.write_text(json.dumps(design.to_json(), indent=1) + "\n", encoding="utf-8")
            row |= {"file": str(out), "design": design.tree.design_id, "n_units": len(design.tree.units())}
            row["open_slots"] = list(design.tree.open_slots())
        yield row


def _print(row: dict[str, Any]) -> None:
    if row["outcome"] == "failed":
        typer.echo(f"{row['name']}: failed ({row['source']})")
    else:
        slots = f", open slots: {', '.join(row['open_slots'])}" if row["open_slots"] else ""
        typer.echo(f"{row['name']}: {row['outcome']}, {counted(row['n_units'], 'unit')}{slots}")
    for finding in row["findings"]:
        place = finding["unit"] + (f", line {finding['line']}" if finding["line"] else "")
        typer.echo(
            f"  [{finding['rule']}] {place}: {finding['measured']}; required: {finding['required']}. {finding['hint']}"
        )
