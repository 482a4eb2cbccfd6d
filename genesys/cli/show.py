"""`genesys show RUN DESIGN`."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from genesys.cli._output import AsJson, print_json


def command(
    run: Annotated[str, typer.Argument(help="A run's folder, or its name under runs/.")],
    design: Annotated[str, typer.Argument(help="A design's name, its id or the beginning of its id.")],
    source: Annotated[bool, typer.Option("--source", help="Also print the units' source.")] = False,
    as_json: AsJson = False,
) -> None:
    """Show one design: where it comes from, its units, its results."""
    from genesys.api import open_run
    from genesys.gau import compose

    opened = open_run(run)
    record, tree = opened.record(design), opened.design(design).tree
    if as_json:
        print_json(_as_json(record) | tree.to_json())
        return
    typer.echo(
        f"{record.name}  ({record.id})\n  {record.state.value}, by {record.operator}: {record.detail or 'a starting design'}"
    )
    for parent in record.parents:
        typer.echo(f"  parent: {opened.record(parent).name}")
    for path, subtree in tree.walk():
        depth = path.count(".") + bool(path)
        settings = ", ".join(f"{n}={v}" for n, v in subtree.hyperparameters)
        typer.echo(
            f"  {'  ' * depth}{path.rpartition('.')[2] or 'block'}: {subtree.unit.name}{f'({settings})' if settings else ''}"
        )
    for finished in record.runs:
        typer.echo(f"  at {finished.scale}: {finished.outcome} in {finished.seconds:.1f} s {finished.reason}")
        for name, value in sorted(finished.metrics.items()):
            typer.echo(f"    {name:24} {value:,.4f}")
    for finding in record.findings:
        typer.echo(
            f"  [{finding['rule']}] {finding.get('unit', '')}: {finding['measured']}; required: {finding['required']}"
        )
    if source:
        typer.echo(compose(tree))


def _as_json(record: Any) -> dict[str, Any]:
    return {
        "design": record.id, "name": record.name, "state": record.state.value, "operator": record.operator,
        "detail": record.detail, "parents": list(record.parents), "sizes": record.sizes, "findings": list(record.findings),
        "runs": [
            {"scale": r.scale, "seed": r.seed, "outcome": r.outcome, "metrics": r.metrics, "seconds": r.seconds,
             "n_tokens": r.n_tokens, "report": r.report, "reason": r.reason}
            for r in record.runs
        ],
    }  # fmt: skip
