"""`genesys operators RUN`: what each operator and edit earned, and how far the steps went."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Annotated, Any

import typer

from genesys.cli._output import AsJson, Folded, fitted_table, make_console, print_json, print_notes

if TYPE_CHECKING:
    from genesys.evolution.attribution import Attribution, Effect

_STEPS = {"tree": "tree", "ast": "ast", "behaviour": "behav.", "seed": "seed"}  # distances, by their headings


def command(
    run: Annotated[str, typer.Argument(help="A run's folder, or its name under runs/.")],
    scale: Annotated[str | None, typer.Option(help="At which designs are compared; the lowest by default.")] = None,
    as_json: AsJson = False,
) -> None:
    """Show what each operator and edit earned. Gains over the parents with intervals, and the sizes of the steps."""
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
    for title, heading, effects in _tables(found):
        if effects:
            console.print(_table(title, heading, effects), "")
    print_notes(console, _notes(found))


def _tables(found: Attribution) -> Iterator[tuple[str, str, tuple[Effect, ...]]]:
    """Title, heading of the names, and rows; edits by their operator, which their names then go without."""
    yield f"Operators, by fitness at {found.scale}", "operator", found.operators
    edits: dict[str, list[Effect]] = {}
    for effect in found.edits:
        operator, _, edit = effect.name.rpartition("/")
        edits.setdefault(operator, []).append(replace(effect, name=edit))
    for operator, effects in edits.items():
        yield f"Edits of {operator}", "edit", tuple(effects)
    yield "Steps in the tree, from the nearest parent", "step", found.step_groups


def _table(title: str, heading: str, effects: tuple[Effect, ...]) -> Any:
    columns: dict[str, list[Any]] = {
        heading: [Folded(e.name) for e in effects],
        "proposed": [str(e.n_proposed) for e in effects],
        "sane": [str(e.n_sane) for e in effects],
        "twins": [str(e.n_twins) for e in effects],
        "rated": [str(e.n) for e in effects],
        "better": [f"{e.n_better / e.n:.0%}" if e.n else "" for e in effects],
        "gain, 95%": [_gain(e) for e in effects],
    }
    for name, short in _STEPS.items():
        if any(name in e.steps for e in effects):
            columns[short] = [f"{e.steps[name]:.2f}" if name in e.steps else "" for e in effects]
    return fitted_table(title, columns, names=(heading,))


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
        "nearest parent in tree, text (ast) and outputs (behav.), and from the nearest seed.",
    )
