"""What the verbs share: printing JSON, and tables as a reader wants them."""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from textwrap import wrap
from typing import Annotated, Any

import typer

_WIDTH = 100  # where no terminal tells
_NAME_WIDTH = 8  # at least, of a column of names
_N_TWINS = 4  # named in a note
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")]


def print_json(value: Any) -> None:
    """Write one JSON document to standard output."""
    sys.stdout.write(
        json.dumps(value, indent=2, default=lambda v: dict(v) if isinstance(v, Mapping) else str(v)) + "\n"
    )


def printable(text: str) -> str:
    """A design's words as they may go to a terminal: control characters written out."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


def make_console(*, stderr: bool = False) -> Any:
    """A console as wide as the terminal; where there is none, as `COLUMNS` says, or 100."""
    from rich.console import Console

    console = Console(stderr=stderr)
    known = console.is_terminal or os.environ.get("COLUMNS", "").isdigit()
    return console if known else Console(stderr=stderr, width=_WIDTH)


def print_notes(console: Any, notes: Iterable[str]) -> None:
    """Print sentences as they are, wrapped between words."""
    for note in notes:
        console.print(printable(note), highlight=False, markup=False)


class Folded:
    """A name in a table's cell, which breaks behind a joint of it (`+`, `-`, `_`, `/` or a space) only."""

    def __init__(self, name: str, style: str = "") -> None:
        self._pieces = re.findall(r"[^-+_/ ]*[-+_/ ]?", printable(name))
        self._style = style

    @property
    def least(self) -> int:
        """The width below which a piece of it would break."""
        return max(map(len, self._pieces))

    def __rich_measure__(self, console: Any, options: Any) -> Any:
        from rich.measure import Measurement

        return Measurement(self.least, sum(map(len, self._pieces))).with_maximum(options.max_width)

    def __rich_console__(self, console: Any, options: Any) -> Iterator[Any]:
        from rich.text import Text

        lines = [""]
        for piece in self._pieces:
            if lines[-1] and len(lines[-1] + piece) > options.max_width:
                lines.append("")
            lines[-1] += piece
        yield Text("\n".join(lines), style=self._style, overflow="fold")


def make_table(title: str, columns: Sequence[str], *, names: Collection[str], gap: int = 2) -> Any:
    """A table of numbers; the columns of names give way first where the terminal is narrow."""
    from rich.table import Table

    table = Table(
        title=title, title_justify="left", caption_justify="left", header_style="bold", box=None, padding=(0, gap, 0, 0),
        pad_edge=False,
    )  # fmt: skip
    for column in columns:
        if column in names:
            table.add_column(column, overflow="fold", min_width=_NAME_WIDTH)
        else:
            table.add_column(column, justify="right", no_wrap=True)
    return table


def fitted_table(title: str, columns: Mapping[str, list[Any]], *, names: Collection[str], least: int = 4) -> Any:
    """A table of cells by heading; a narrow terminal costs it columns from the right, and it says which.

    Args:
        columns: From the one that matters most to the one that matters least.
        names: Headings of the columns that may break within.
        least: Columns that stay, however narrow it is.
    """
    kept, dropped, gap = dict(columns), list[str](), 2
    width = make_console().width
    while _least_width(kept, names, gap) > width and len(kept) > least:
        if gap == 2:
            gap = 1
        else:
            dropped.append(kept.popitem()[0].replace("-\n", "").replace("\n", " "))
    table = make_table(title, list(kept), names=names, gap=gap)
    for row in zip(*kept.values(), strict=True):
        table.add_row(*row)
    if dropped:
        table.caption = f"Too narrow for {', '.join(reversed(dropped))}; --json has all."
    return table


def leaderboard_table(rows: list[dict[str, Any]], *, title: str) -> Any:
    """A leaderboard as a rich table."""
    return fitted_table(title, _leaderboard_columns(rows), names=("design",))


def _leaderboard_columns(rows: list[dict[str, Any]]) -> dict[str, list[Any]]:
    """Cells by heading, from the column that matters most to the one that matters least."""
    columns: dict[str, list[Any]] = {
        "#": [str(place) for place, _ in enumerate(rows, start=1)],
        "design": [Folded(f"{r['name']} (seed)", "bold") if r["is_seed"] else Folded(r["name"]) for r in rows],
        "scale": [r["scale"] for r in rows],
        "fitness,\n95% interval": [
            f"{r['fitness']:+.2f} ± {(r['interval'][1] - r['interval'][0]) / 2:.2f}" for r in rows
        ],
        "seeds": [str(r["n_seeds"]) for r in rows],
        "bits/\nbyte": [f"{r['val_bpb']:.3f}" for r in rows],
    }
    if any(r["tasks"] for r in rows):
        columns["tasks"] = [f"{r['task_score']:.3f}" if r["tasks"] else "" for r in rows]
    for probe in sorted({probe for r in rows for probe in r["probes"]}):
        heading = "\n".join("-\n".join(wrap(word, 6)) for word in probe.split("_"))
        columns[heading] = [f"{r['probes'][probe]:.2f}" if probe in r["probes"] else "" for r in rows]
    columns["params"] = [short(r["n_params"]) for r in rows]
    return columns


def _least_width(columns: Mapping[str, list[Any]], names: Collection[str], gap: int) -> int:
    widths = [
        max(
            *map(len, heading.split("\n")), *(c.least if isinstance(c, Folded) else len(c) for c in cells),
            _NAME_WIDTH if heading in names else 0, 0,
        )
        for heading, cells in columns.items()
    ]  # fmt: skip
    return sum(widths) + gap * (len(widths) - 1)


def counted(n: int, what: str) -> str:
    """A number of things: 1 design, 2 designs."""
    return f"{n:,} {what}" + ("" if n == 1 else "s")


def short(n: float) -> str:
    """A count in three figures: 827k, 1.52M."""
    for unit, size in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if n >= size:
            return f"{n / size:.3g}{unit}"
    return f"{n:g}"


def leaderboard_notes(rows: list[dict[str, Any]], lead: dict[str, Any] | None, reference: str) -> Iterator[str]:
    """What a leaderboard allows one to say: how much of the lead is luck, and which differences are settled.

    Args:
        reference: Its name; "" for none.
    """
    if lead is not None:
        yield (
            f"{lead['name']} leads {lead['n_designs']} designs at {lead['scale']}, {lead['lead']:+.2f} above their mean; the "
            f"best of as many equal designs would stand {lead['luck']:+.2f} above it by luck, up to {lead['luck_95']:+.2f}."
        )
    for row in rows:
        if row["twins"]:
            more = f" and {len(row['twins']) - _N_TWINS} more" if len(row["twins"]) > _N_TWINS else ""
            yield f"Twins of {row['name']}, which compute the same: {', '.join(row['twins'][:_N_TWINS])}{more}."
    for verdict in ("better", "worse"):
        found = [row for row in rows if row["against_reference"] and row["against_reference"]["verdict"] == verdict]
        if found:
            yield (
                f"{verdict.capitalize()} than the reference {reference}, paired seeds, corrected for all: "
                + ", ".join(f"{row['name']} ({row['against_reference']['n_pairs']} seeds)" for row in found)
            )
    if reference and not any(
        row["against_reference"] and row["against_reference"]["verdict"] in ("better", "worse") for row in rows
    ):
        yield f"No difference from the reference {reference} is settled; it takes three or more paired seeds (genesys compare)."
