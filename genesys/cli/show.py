"""`genesys show RUN DESIGN`, `genesys show REPORT.json`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from genesys.cli._output import AsJson, make_console, print_json, printable

if TYPE_CHECKING:
    from rich.console import Console

    from genesys.api import Run
    from genesys.evolution import DesignRecord
    from genesys.verification import VerificationReport

_N_NAMED = 12


def command(
    run: Annotated[str, typer.Argument(help="A run's folder, its name under runs/, or a report's file or folder.")],
    design: Annotated[
        str | None, typer.Argument(help="A design's name, its id or the beginning of its id; none for a report.")
    ] = None,
    scale: Annotated[str | None, typer.Option(help="Whose verification to show; the highest by default.")] = None,
    seed: Annotated[int | None, typer.Option(help="Of the verification to show; the first by default.")] = None,
    source: Annotated[bool, typer.Option("--source", help="Also print the units' source.")] = False,
    check: Annotated[bool, typer.Option("--check", help="Hold a report against its weights file.")] = False,
    as_json: AsJson = False,
) -> None:
    """Show one design, or one verification's report. Of a design: where it comes from, its units, its results."""
    if design is None:
        _show_report(run, scale=scale, seed=seed, check=check, as_json=as_json)
        return
    from genesys.api import open_run

    opened = open_run(run)
    record, tree = opened.record(design), opened.design(design).tree
    measured = opened.record(record.inherited_from) if record.inherited_from else record
    verified = any(r.outcome == "committed" for r in measured.runs)
    asked = check or scale is not None or seed is not None
    report = opened.report(measured.id, scale, seed) if verified or asked else None
    if as_json:
        print_json(_as_json(record, measured) | tree.to_json())
    else:
        _print_design(opened, record, measured, tree, report, run=run)
        if source:
            from genesys.gau import compose

            typer.echo(compose(tree))
    if check and report is not None:
        from genesys.verification.report import report_from_json

        _check(report_from_json(report))


def _print_design(
    opened: Run, record: DesignRecord, measured: DesignRecord, tree: Any, report: dict[str, Any] | None, *, run: str
) -> None:
    from genesys.cli._report import print_report

    console = make_console()
    _print_origin(opened, record)
    _print_tree(tree)
    _print_runs(measured, console)
    if report is not None:
        console.print()
        print_report(report, console, name=measured.name)
        typer.echo(f"Do it again and compare: genesys verify --reproduce {run} {measured.name}")


def _show_report(run: str, *, scale: str | None, seed: int | None, check: bool, as_json: bool) -> None:
    from genesys.cli._report import print_report
    from genesys.errors import ConfigError
    from genesys.verification.report import REPORT_FILE, read_report, report_to_json

    path = Path(run)
    folder = path if path.exists() else Path("runs") / run
    if folder.is_dir() and not (folder / REPORT_FILE).exists():
        raise ConfigError(f"Cannot show {run!r}: it holds no {REPORT_FILE}. {_designs(folder, run)}")
    report = read_report(path)
    if scale not in (None, report.scale) or seed not in (None, report.seed):
        asked = ", ".join([*([f"scale {scale!r}"] if scale else []), *([] if seed is None else [f"seed {seed}"])])
        raise ConfigError(
            f"Cannot show {run!r} of {asked}: its report is of scale {report.scale!r}, seed {report.seed}. "
            f"Leave the options out."
        )
    print_json(report_to_json(report)) if as_json else print_report(report_to_json(report), make_console())
    if check:
        _check(report)


def _designs(folder: Path, run: str) -> str:
    """How to show a design of a run, and which it has."""
    from genesys.api import open_run
    from genesys.storage import RunStore

    if not RunStore(folder).exists:
        return "Give the folder of a run or of a verification."
    names = [record.name for record in open_run(folder).tree]
    listed = ", ".join(names[:_N_NAMED]) + (f" and {len(names) - _N_NAMED} more" if len(names) > _N_NAMED else "")
    return f"To show a design: genesys show {run} DESIGN; it has {listed or 'none yet'}."


def _check(report: VerificationReport) -> None:
    """Hold a report against its weights and say so; ends the command with 1 if it does not hold, or cannot be checked."""
    from genesys.errors import JobFailed
    from genesys.verification.report import check_report

    if not report.weights or not Path(report.weights).exists():
        typer.echo(f"Not checked: the weights are gone{f' ({report.weights})' if report.weights else ''}.", err=True)
        raise typer.Exit(1)
    try:
        check_report(report)
    except JobFailed as failure:
        typer.echo(f"genesys: {failure}", err=True)
        raise typer.Exit(1) from failure
    typer.echo("Checked: the weights file is the one that was trained and evaluated, and of this design.", err=True)


def _print_origin(opened: Run, record: DesignRecord) -> None:
    typer.echo(
        f"{record.name}  ({record.id})\n  {record.state.value}, by {record.operator}: {record.detail or 'a starting design'}"
    )
    for parent in record.parents:
        typer.echo(f"  parent: {opened.record(parent).name}")
    if record.inherited_from:
        typer.echo(
            f"  twin of {opened.record(record.inherited_from).name}: it computes the same; the results are that one's"
        )
    if twins := [other.name for other in opened.tree if other.inherited_from == record.id]:
        typer.echo(f"  its twins, which inherit its results: {', '.join(twins)}")
    for finding in record.findings:
        unit, measured, required = (printable(finding.get(key, "")) for key in ("unit", "measured", "required"))
        typer.echo(f"  [{finding['rule']}] {unit}: {measured}; required: {required}")


def _print_tree(tree: Any) -> None:
    for path, subtree in tree.walk():
        depth = path.count(".") + bool(path)
        settings = ", ".join(f"{n}={v}" for n, v in subtree.hyperparameters)
        typer.echo(
            f"  {'  ' * depth}{path.rpartition('.')[2] or 'block'}: {subtree.unit.name}{f'({settings})' if settings else ''}"
        )


def _print_runs(record: DesignRecord, console: Console) -> None:
    """One row for each verification, failed ones with the reason below."""
    if not record.runs:
        return
    from rich.table import Table

    table = Table(header_style="bold")
    for column in ("scale", "seed", "outcome", "bits/byte", "params", "tokens", "seconds"):
        table.add_column(column, justify="left" if column in ("scale", "outcome") else "right")
    for r in record.runs:
        bits, n_params = r.metrics.get("test_bpb"), r.metrics.get("n_params")
        table.add_row(
            r.scale, str(r.seed), r.outcome, "" if bits is None else f"{bits:.3f}",
            "" if n_params is None else f"{n_params:,.0f}", f"{r.n_tokens:,}" if r.n_tokens else "", f"{r.seconds:,.1f}",
        )  # fmt: skip
    console.print(table)
    for r in record.runs:
        if r.reason:
            typer.echo(f"  {r.scale}, seed {r.seed}: {r.outcome} ({r.cause or r.outcome}): {printable(r.reason)}")


def _as_json(record: DesignRecord, measured: DesignRecord) -> dict[str, Any]:
    return {
        "design": record.id, "name": record.name, "state": record.state.value, "operator": record.operator,
        "detail": record.detail, "parents": list(record.parents), "sizes": record.sizes, "findings": list(record.findings),
        "inherited_from": record.inherited_from, "edit": record.edit, "target": record.target, "steps": record.steps,
        "odds": record.odds,
        "runs": [
            {"scale": r.scale, "seed": r.seed, "outcome": r.outcome, "metrics": r.metrics, "seconds": r.seconds,
             "n_tokens": r.n_tokens, "report": r.report, "reason": r.reason}
            for r in measured.runs
        ],
    }  # fmt: skip
