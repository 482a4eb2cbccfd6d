"""`genesys verify DESIGN --scale S`: pre-train and evaluate one design."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from genesys.cli._output import AsJson, print_json


def command(
    design: Annotated[str, typer.Argument(help="A seed's name, or a .py, .yaml or .json file.")],
    scale: Annotated[str, typer.Option(help="Name of the scale.")] = "cpu-1",
    corpus: Annotated[str, typer.Option(help="python-docs, or text:PATH.")] = "python-docs",
    seed: Annotated[int, typer.Option(help="Seed of weights and data order.")] = 0,
    threads: Annotated[int, typer.Option(help="Torch threads.")] = 1,
    probes: Annotated[bool, typer.Option(help="Also probe recall, copying and induction.")] = True,
    out: Annotated[Path | None, typer.Option(help="Folder that keeps the weights.")] = None,
    as_json: AsJson = False,
) -> None:
    """Pre-train and evaluate one design at one scale."""
    from genesys.api import verify

    report = verify(design, scale, corpus=corpus, seed=seed, threads=threads, probes=probes, out=out)
    if as_json:
        print_json(report.to_json())
        return
    typer.echo(f"{design} at {scale}: {report.n_tokens:,} tokens in {report.seconds:.1f} s")
    for name, value in sorted(report.metrics.items()):
        typer.echo(f"  {name:24} {value:,.4f}")
