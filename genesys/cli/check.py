"""`genesys check FILE|DIR|DESIGN`: is a design sane?"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from genesys.cli._output import AsJson, counted, print_json, printable

EXIT_CODES = {"sane": 0, "rejected": 1, "unchecked": 2}


def command(
    design: Annotated[
        str, typer.Argument(help="A .py, .json or .yaml file, a folder of them, a seed, a library unit, or RUN/DESIGN.")
    ],
    stage: Annotated[
        list[str] | None, typer.Option(help="A stage to run, with those it needs; may be repeated. All by default.")
    ] = None,
    partial: Annotated[bool, typer.Option("--partial", help="Fill open slots with placeholders.")] = False,
    ladder: Annotated[str, typer.Option(help="The ladder whose scales it must fit.")] = "cpu",
    cached: Annotated[bool, typer.Option(help="Answer from kept verdicts where there are.")] = True,
    as_json: AsJson = False,
) -> None:
    """Check a design. Exit code 0 sane, 1 rejected, 2 could not check; of a folder, the worst."""
    from genesys.api import check, check_folder
    from genesys.checker import VerdictCache, default_folder

    verdicts = VerdictCache(default_folder()) if cached else None
    if not Path(design).is_dir():
        report = check(design, ladder, stages=stage, partial=partial, verdicts=verdicts)
        print_json(report) if as_json else _print_report(design, report)
        sys.exit(EXIT_CODES[report["verdict"]])
    show = _print_line if not as_json else lambda name, report: None
    reports = check_folder(
        Path(design), ladder, stages=stage, partial=partial, verdicts=verdicts, on_report=show
    )  # fmt: skip
    print_json(reports) if as_json else _print_summary(reports)
    sys.exit(max(EXIT_CODES[report["verdict"]] for report in reports.values()))


def _print_report(design: str, report: dict[str, Any]) -> None:
    typer.echo(f"{design}: {report['verdict']}")
    for name, stage in report["stages"].items():
        seconds = f"{stage['seconds']:8.2f} s" if stage["outcome"] != "skipped" else ""
        typer.echo(f"  {name:14} {stage['outcome']:8}{seconds}")
    for finding in report["findings"]:
        line = f"line {finding['line']}" if finding["line"] else ""
        place = ", ".join(filter(None, (finding["unit"], line)))
        path = f" at {finding['path']}" if finding["path"] else ""
        typer.echo(f"  {finding['severity']} [{finding['rule']}] {place}{path}")
        measured, required, hint = (printable(finding[key]) for key in ("measured", "required", "hint"))
        typer.echo(f"    measured: {measured}\n    required: {required}\n    {hint}")
    for scale, size in report["sizes"].items():
        typer.echo(
            f"  {scale}: {size['n_params']:,} parameters, width {size['d_model']}, {counted(size['n_blocks'], 'block')}"
        )


def _print_line(name: str, report: dict[str, Any]) -> None:
    rules = sorted({f["rule"] for f in report["findings"] if f["severity"] == "error"})
    typer.echo(f"{name:40} {report['verdict']:10} {', '.join(rules) or report.get('error', '')}".rstrip())


def _print_summary(reports: dict[str, dict[str, Any]]) -> None:
    counts = {verdict: sum(r["verdict"] == verdict for r in reports.values()) for verdict in EXIT_CODES}
    typer.echo(f"{counted(len(reports), 'design')}: " + ", ".join(f"{n} {verdict}" for verdict, n in counts.items()))
