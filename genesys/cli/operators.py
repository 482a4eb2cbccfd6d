"""`genesys operators RUN`: what each operator and edit earned, and how far the steps went."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from genesys.cli._output import AsJson, Folded, make_console, make_table, print_json, print_notes

if TYPE_CHECKING:
    from genesys.evolution.attribution import Attribution, Effect

_STEPS = ("tree", "ast", "behaviour", "seed")


def command(
    run: Annotated[str, typer.Argument(help="A run's folder, or its name under runs/.")],
    scale: Annotated[str | None, typer.Option(help="At which designs are compared; the lowest by default.")] = None,
    as_json: AsJson = False,
) -> None:
    """Show what each operator and edit earned over the parents, with intervals, and the sizes of the steps."""
    from genesys.api import open_run
    from genesys.errors import ConfigError, suggest
    from genesys.evolution.attribution import attribute

    opened = open_run(run)
    scales = opened.tree.scales
    if scale is not None and scale not in scales:
        raise ConfigError(f"Cannot find scale {scale!r}; this run has {', '.join(scales)}.{suggest(scale, scales)}")
    found = attribute(opened.tree, scale)
    if as_json:
        print_json(asdict(found))
        return
    console = make_console()
    for title, effects in _tables(found):
        if effects:
            console.print(_table(title, effects), "")
    print_notes(console, _notes(found))


def _tables(found: Attribution) -> tuple[tuple[str, tuple[Effect, ...]], ...]:
    return (
        (f"Operators, by fitness at {found.scale}", found.operators),
        ("Edits", found.edits),
        ("Steps in the tree, from the nearest parent", found.step_groups),
    )


def _table(title: str, effects: tuple[Effect, ...]) -> Any:
    steps = [name for name in _STEPS if any(name in effect.steps for effect in effects)]
    columns = ("", "proposed", "sane", "twins", "rated", "better", "gain, 95%", *steps)
    table = make_table(title, columns, names=("",))
    for effect in effects:
        table.add_row(
            Folded(effect.name), str(effect.n_proposed), str(effect.n_sane), str(effect.n_twins), str(effect.n),
            f"{effect.n_better / effect.n:.0%}" if effect.n else "", _gain(effect),
            *(f"{effect.steps[name]:.2f}" if name in effect.steps else "" for name in steps),
        )  # fmt: skip
    return table


def _gain(effect: Effect) -> str:
    if effect.gain is None:
        return ""
    half = "" if effect.low is None or effect.high is None else f" ± {(effect.high - effect.low) / 2:.2f}"
    return f"{effect.gain:+.2f}{half}"


def _notes(found: Attribution) -> tuple[str, ...]:
    if not found.operators:
        return ("No design was proposed in this run yet.",)
    return (
        "gain: fitness above the best parent's, weighted by the inverse odds of the operator; steps: mean distances from the "
        "nearest parent in tree, text (ast) and outputs (behaviour), and from the nearest seed.",
    )
