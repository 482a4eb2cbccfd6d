"""`genesys check FILE`: is a design sane?"""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from genesys.cli._output import AsJson, print_json

EXIT_CODES = {"sane": 0, "rejected": 1, "unchecked": 2}


def command(
    design: Annotated[str, typer.Argument(help="A seed's name, or a .py, .yaml or .json file.")],
    ladder: Annotated[str, typer.Option(help="The ladder whose scales it must fit.")] = "cpu",
    as_json: AsJson = False,
) -> None:
    """Check a design: exit code 0 sane, 1 rejected, 2 could not check."""
    from genesys.api import check

    report = check(design, ladder)
    if as_json:
        print_json({key: report[key] for key in ("verdict", "findings")})
    else:
        typer.echo(f"{design}: {report['verdict']}")
        for finding in report["findings"]:
            place = finding["unit"] + (f", line {finding['line']}" if finding["line"] else "")
            typer.echo(
                f"  [{finding['rule']}] {place}: {finding['measured']}; required: {finding['required']}. {finding['hint']}"
            )
        for scale, size in report["sizes"].items():
            typer.echo(
                f"  {scale}: {size['n_params']:,} parameters, width {size['d_model']}, {size['n_blocks']} blocks"
            )
    sys.exit(EXIT_CODES[report["verdict"]])
