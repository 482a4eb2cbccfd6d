"""What the verbs share: printing JSON, and tables as a reader wants them."""

from __future__ import annotations

import json
import sys
from typing import Annotated, Any

import typer

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")]


def print_json(value: Any) -> None:
    """Write one JSON document to standard output."""
    sys.stdout.write(json.dumps(value, indent=2, default=str) + "\n")


def make_console(*, stderr: bool = False) -> Any:
    """A console that is wide enough for tables also where there is no terminal."""
    from rich.console import Console

    console = Console(stderr=stderr)
    return console if console.is_terminal else Console(stderr=stderr, width=160)


def leaderboard_table(rows: list[dict[str, Any]], *, title: str) -> Any:
    """A leaderboard as a rich table."""
    from rich.table import Table

    table = Table(title=title, title_justify="left", header_style="bold")
    probes = sorted({probe for row in rows for probe in row["probes"]})
    for column in ("#", "design", "scale"):
        table.add_column(column, justify="right" if column == "#" else "left", no_wrap=True)
    for column in (
        "fitness",
        "95% interval",
        "bits/byte",
        *(probe.replace("_", " ") for probe in probes),
        "params",
        "tokens",
    ):
        table.add_column(column, justify="right", no_wrap=column in ("95% interval", "tokens"))
    for place, row in enumerate(rows, start=1):
        name = f"[bold]{row['name']}[/bold] (seed)" if row["is_seed"] else row["name"]
        low, high = row["interval"]
        table.add_row(
            str(place), name, row["scale"], f"{row['fitness']:+.2f}", f"{low:+.2f} to {high:+.2f}",
            f"{row['val_bpb']:.3f}", *(f"{row['probes'][p]:.2f}" if p in row["probes"] else "" for p in probes),
            f"{row['n_params']:,}", f"{row['n_tokens']:,}",
        )  # fmt: skip
    return table
