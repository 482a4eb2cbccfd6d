"""What the verbs share: printing JSON, and tables as a reader wants them."""

from __future__ import annotations

import json
import sys
from collections.abc import Collection, Iterator, Sequence
from typing import Annotated, Any

import typer

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")]


def print_json(value: Any) -> None:
    """Write one JSON document to standard output."""
    sys.stdout.write(json.dumps(value, indent=2, default=str) + "\n")


def printable(text: str) -> str:
    """A design's words as they may go to a terminal: control characters written out."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


def make_console(*, stderr: bool = False) -> Any:
    """A console that is wide enough for tables also where there is no terminal."""
    from rich.console import Console

    console = Console(stderr=stderr)
    return console if console.is_terminal else Console(stderr=stderr, width=160)


def make_table(title: str, columns: Sequence[str], *, names: Collection[str]) -> Any:
    """A table of numbers; the columns of names give way first where the terminal is narrow."""
    from rich.table import Table

    table = Table(
        title=title, title_justify="left", caption_justify="left", header_style="bold", box=None, pad_edge=False
    )  # fmt: skip
    for column in columns:
        if column in names:
            table.add_column(column, overflow="fold", min_width=8)
        else:
            table.add_column(column, justify="right", no_wrap=True)
    return table


def leaderboard_table(rows: list[dict[str, Any]], *, title: str) -> Any:
    """A leaderboard as a rich table."""
    probes = sorted({probe for row in rows for probe in row["probes"]})
    has_tasks = any(row["tasks"] for row in rows)
    columns = ["#", "design", "scale", "fitness,\n95% interval", "seeds", "bits/\nbyte"]
    columns += [*(["tasks"] if has_tasks else []), *(probe.replace("_", "\n") for probe in probes), "params"]
    table = make_table(title, columns, names=("design",))
    for place, row in enumerate(rows, start=1):
        name = f"[bold]{row['name']}[/bold] (seed)" if row["is_seed"] else row["name"]
        low, high = row["interval"]
        table.add_row(
            str(place), name, row["scale"], f"{row['fitness']:+.2f} ± {(high - low) / 2:.2f}", str(row["n_seeds"]),
            f"{row['val_bpb']:.3f}", *([f"{row['task_score']:.3f}" if row["tasks"] else ""] if has_tasks else []),
            *(f"{row['probes'][p]:.2f}" if p in row["probes"] else "" for p in probes), _short(row["n_params"]),
        )  # fmt: skip
    return table


def _short(n: float) -> str:
    """A count in three figures: 827k, 1.52M."""
    for unit, size in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if n >= size:
            return f"{n / size:.3g}{unit}"
    return f"{n:g}"


def leaderboard_notes(rows: list[dict[str, Any]], lead: dict[str, Any] | None) -> Iterator[str]:
    """What a leaderboard allows one to say: how much of the lead is luck, and which differences are settled."""
    if lead is not None:
        yield (
            f"{lead['name']} leads {lead['n_designs']} designs at {lead['scale']}, {lead['lead']:+.2f} above their mean; the "
            f"best of as many equal designs would stand {lead['luck']:+.2f} above it by luck, up to {lead['luck_95']:+.2f}."
        )
    for verdict in ("better", "worse"):
        found = [row for row in rows if row["against_reference"] and row["against_reference"]["verdict"] == verdict]
        if found:
            yield f"{verdict.capitalize()} than the reference, paired seeds, corrected for all: " + ", ".join(
                f"{row['name']} ({row['against_reference']['n_pairs']} seeds)" for row in found
            )
    if rows and not any(
        row["against_reference"] and row["against_reference"]["verdict"] in ("better", "worse") for row in rows
    ):
        yield "No difference from the reference is settled; it takes three or more paired seeds (genesys compare)."
