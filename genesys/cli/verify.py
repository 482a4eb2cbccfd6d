"""`genesys verify DESIGN --scale S`: pre-train and evaluate one design; `--reproduce RUN`: do it once more and compare."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from genesys.cli._output import AsJson, make_console, print_json, printable

if TYPE_CHECKING:
    from genesys.config import RunConfig
    from genesys.verification import VerificationReport
    from genesys.verification.reproduction import Reproduction


def command(
    design: Annotated[
        str,
        typer.Argument(help="A seed's name, or a .py, .yaml or .json file; with --reproduce, a design of that run."),
    ],
    scale: Annotated[
        str | None, typer.Option(help="The ladder's lowest by default; with --reproduce the design's highest.")
    ] = None,
    config: Annotated[
        Path | None, typer.Option(help="YAML file of a run: verify as that run would, with its data and its ladder.")
    ] = None,
    corpus: Annotated[str | None, typer.Option(help="python-docs (by default), or text:PATH.")] = None,
    tokenizer: Annotated[str | None, typer.Option(help="bytes (by default), bpe:SIZE, or hf:NAME_OR_FOLDER.")] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of weights and data order; 0 by default.")] = None,
    threads: Annotated[int | None, typer.Option(help="Torch threads; 1 by default.")] = None,
    processes: Annotated[int, typer.Option(help="Processes that train together, one a card.")] = 1,
    probes: Annotated[bool | None, typer.Option(help="Also run the scale's synthetic probes.")] = None,
    out: Annotated[
        Path | None,
        typer.Option(help="Folder that keeps weights and report.json, and from which the same call goes on."),
    ] = None,
    reproduce: Annotated[
        str | None,
        typer.Option(metavar="RUN", help="Verify again as RUN did and compare every figure: exit code 0 or 1."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Pre-train and evaluate one design at one scale. Interrupt it safely with Ctrl-C."""
    try:
        if reproduce is not None:
            _refuse_beside_reproduce(
                config=config, corpus=corpus, tokenizer=tokenizer, threads=threads, probes=probes,
                processes=None if processes == 1 else processes,
            )  # fmt: skip
            compared = _reproduce(reproduce, design, scale=scale, seed=seed, out=out)
            print_json(compared.to_json()) if as_json else print_reproduction(compared, design)
            sys.exit(0 if compared.holds else 1)
        by = _config(config, corpus=corpus, tokenizer=tokenizer, threads=threads, probes=probes)
        report = _verify(design, scale, by, seed=seed or 0, processes=processes, out=out)
    except KeyboardInterrupt:
        typer.echo(f"\nInterrupted; {_kept(out)}.", err=True)
        sys.exit(130)
    _print_report(report, design, as_json=as_json)


def _refuse_beside_reproduce(**given: Any) -> None:
    from genesys.errors import ConfigError

    said = [f"--{name}" for name, value in given.items() if value is not None]
    if said:
        raise ConfigError(
            f"Cannot use {', '.join(said)} with --reproduce: the run's own settings are used again. Leave it out."
        )


def _kept(out: Path | None) -> str:
    """What there is to go on from after an interruption."""
    from genesys.verification.alone import what_is_kept

    if out is None:
        return "nothing is kept without --out"
    kept = what_is_kept(out)
    return f"{kept} is kept in {out}; the same command goes on there" if kept else "nothing trained yet is kept"


def _config(path: Path | None, *, threads: int | None, probes: bool | None, **settings: str | None) -> RunConfig:
    """A run's configuration, with what was said on the command line in its place."""
    from genesys.config import RunConfig, load_config

    loaded = RunConfig() if path is None else load_config(path)
    said: dict[str, Any] = {
        key: value for key, value in {"threads": threads, "probes": probes}.items() if value is not None
    }
    given: dict[str, Any] = {key: value for key, value in settings.items() if value is not None}
    return replace(loaded, verifiers=replace(loaded.verifiers, **said), **given)


def _verify(design: str, scale: str | None, by: RunConfig, *, out: Path | None, **settings: Any) -> VerificationReport:
    from genesys.api import find_scale, verify
    from genesys.cli._verifying import verification_display

    ladder, ended, reported = by.resolved_ladder(), _ended(out), _reported(out)
    n_tokens = find_scale(scale or ladder.names[0], ladder).n_tokens
    with verification_display(make_console(stderr=True), n_tokens=n_tokens) as show:
        report = verify(design, scale, config=by, out=out, on_progress=show, **settings)
    if reported is not None and _reported(out) == reported:
        typer.echo(
            f"Verified in {out} before: this is the report from there, its weights unchanged. Remove its report.json to "
            f"evaluate them anew.", err=True,
        )  # fmt: skip
    else:
        _say_what_was_kept(report, out, ended)
    return report


def _reported(out: Path | None) -> int | None:
    """When the report in a folder was written, if there is one."""
    from genesys.verification.report import REPORT_FILE

    path = out / REPORT_FILE if out else None
    return path.stat().st_mtime_ns if path and path.is_file() else None


def _ended(out: Path | None) -> set[int]:
    """When the trainings in a folder ended, those that did."""
    return {path.stat().st_mtime_ns for path in out.glob("training*/trained.json")} if out else set()


def _say_what_was_kept(report: VerificationReport, out: Path | None, ended: set[int]) -> None:
    trained = report.details["train"]
    if ended and _ended(out) <= ended:
        typer.echo(f"The training had ended in {out} before; its weights are evaluated anew.", err=True)
    elif n_resumed := trained.get("n_resumed_steps"):
        typer.echo(f"Resumed in {out}: {n_resumed:,} of {trained['n_steps']:,} steps were done before.", err=True)


def _reproduce(run: str, design: str, *, out: Path | None, **which: Any) -> Reproduction:
    from genesys.api import open_run, reproduce
    from genesys.cli._verifying import verification_display

    stored, ended = open_run(run).report(design, **which), _ended(out)
    console = make_console(stderr=True)
    console.print(
        f"Verifying {design} again as run {run} did: {stored['scale']}, seed {stored['seed']}", highlight=False
    )
    with verification_display(console, n_tokens=stored["n_tokens"]) as show:
        compared = reproduce(run, design, out=out, on_progress=show, **which)
    _say_what_was_kept(compared.new, out, ended)
    return compared


def _print_report(report: VerificationReport, design: str, *, as_json: bool) -> None:
    from genesys.cli._report import print_report
    from genesys.verification.report import report_to_json

    if as_json:
        print_json(report_to_json(report))
    else:
        print_report(report_to_json(report), make_console(), name=design)


def print_reproduction(compared: Reproduction, design: str) -> None:
    """Print each figure then and now, what changed in between, and the verdict."""
    from rich.table import Table

    old = compared.old
    table = Table(title=f"{design} at {old.scale}, seed {old.seed}", title_justify="left", header_style="bold")
    table.add_column("figure", overflow="fold")
    for column in ("then", "now", "difference", "tolerance"):
        table.add_column(column, justify="right", no_wrap=True)
    table.add_column("verdict")
    for f in compared.figures:
        now = "-" if f.new is None else f"{f.new:,.6g}"
        difference = "-" if f.new is None else f"{f.difference:+.1e}" if f.difference else "0"
        table.add_row(f.name, f"{f.old:,.6g}", now, difference, f"{f.tolerance:.1e}" if f.tolerance else "0", f.verdict)
    make_console().print(table)
    for change in compared.changes:
        typer.echo(f"Not as it was: {printable(change)}")
    rule = "bit for bit: one CPU thread, float32, nothing changed" if compared.exact else "within the tolerances"
    weights = "equal" if compared.same_weights else "different"
    typer.echo(f"{'Reproduced' if compared.holds else 'NOT reproduced'} ({rule}); weights {weights}.")
