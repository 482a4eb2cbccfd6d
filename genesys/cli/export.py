"""`genesys export RUN [DESIGN]`: a design as a Python file, its results to an experiment tracker, a run as tables."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from genesys.cli._output import AsJson, print_json

if TYPE_CHECKING:
    from genesys.api import Run


def command(
    run: Annotated[str, typer.Argument(help="A run's folder, or its name under runs/.")],
    design: Annotated[
        str | None, typer.Argument(help="A design's name, its id or the beginning of its id; none for parquet.")
    ] = None,
    to: Annotated[
        str,
        typer.Option(
            help="py: one self-contained Python file; tensorboard, wandb or mlflow: its verifications; parquet: the whole run."
        ),
    ] = "py",
    scale: Annotated[
        str | None,
        typer.Option(help="Size of the model, the lowest by default; or whose verifications, all by default."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="File to write, DESIGN.py by default; a folder for a tracker or parquet.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Write a design, its results, or a whole run. As a Python file that needs torch alone, to a tracker, as tables."""
    from genesys.api import open_run
    from genesys.errors import ConfigError, suggest
    from genesys.tracking import TRACKERS

    known = ("py", *TRACKERS, "parquet")
    if to not in known:
        raise ConfigError(f"Cannot export to {to!r}; expected {', '.join(known)}.{suggest(to.lower(), known)}")
    opened = open_run(run)
    if to == "parquet":
        if design or scale:
            raise ConfigError(
                f"Cannot export {design or scale!r} to 'parquet': it takes the whole run. Leave DESIGN and --scale out."
            )
        answer, said = _to_parquet(opened, out)
    elif design is None:
        raise ConfigError(
            f"Cannot export run {opened.name!r} to {to!r}: that takes one design. Name it after the run, or export all: --to parquet."
        )
    elif to == "py":
        answer, said = _to_python(opened, design, scale, out)
    else:
        answer, said = _to_tracker(opened, design, scale, out, to)
    print_json(answer) if as_json else typer.echo(said)


@contextmanager
def _writing_to(path: Path, expected: str) -> Iterator[None]:
    from genesys.errors import ConfigError

    try:
        yield
    except OSError as error:
        why = error.strerror or str(error)
        raise ConfigError(f"Cannot export to {str(path)!r}: {why}; expected {expected}. Give another --out.") from error


def _to_python(run: Run, design: str, scale: str | None, out: Path | None) -> tuple[dict[str, Any], str]:
    found = run.design(design)
    path = out or Path(f"{found.name}.py")
    source = found.source(scale)
    with _writing_to(path, "a file in a folder that is there"):
        path.write_text(source, encoding="utf-8")
    said = f"Wrote {path}. In Python: from {path.stem.replace('-', '_')} import build; model = build()"
    return {"design": found.id, "path": str(path)}, said


def _to_tracker(run: Run, design: str, scale: str | None, out: Path | None, tracker: str) -> tuple[dict[str, Any], str]:
    from genesys.errors import ConfigError
    from genesys.tracking import track, tracked_report

    record = run.record(design)
    runs = [r for r in record.runs if r.outcome == "committed" and scale in (None, r.scale)]
    if not runs:
        where = f" at scale {scale!r}" if scale else ""
        raise ConfigError(f"Cannot export {record.name!r} of run {run.name!r}: it was not verified{where}.")
    reports = [tracked_report(run.report(record.id, r.scale, r.seed), run=run.name, design=record.name) for r in runs]
    with _writing_to(out or Path(), "a folder"):
        place, look = track(reports, tracker, out)
    answer = {"design": record.id, "to": tracker, "place": place, "verifications": [report.name for report in reports]}
    return answer, f"Wrote {len(reports)} verification(s) of {record.name} to {place}. Next: {look}"


def _to_parquet(run: Run, out: Path | None) -> tuple[dict[str, Any], str]:
    from contextlib import closing

    from genesys.storage.parquet import export_parquet

    folder = out or Path(f"{run.name}-parquet")
    with _writing_to(folder, "a folder"), closing(run.store.journal(mode="reader")) as journal:
        tables = export_parquet(run.tree, journal, folder)
    counted = ", ".join(f"{n} {name}" for name, n in tables.items())
    return {
        "to": "parquet",
        "place": str(folder),
        "tables": tables,
    }, f"Wrote {folder}: {counted}. Columns: docs/storage.md"
