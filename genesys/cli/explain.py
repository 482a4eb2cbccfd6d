"""`genesys explain RUN DESIGN`: why a design was made, what was decided about it, and what it waits for."""

from __future__ import annotations

import sys
from contextlib import closing
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from genesys.cli._output import AsJson, make_console, print_json, print_notes

if TYPE_CHECKING:
    from genesys.api import Run
    from genesys.evolution.promotion import PromotionStrategy
    from genesys.evolution.promotion.explanation import Explanation


def command(
    run: Annotated[str, typer.Argument(help="A run's folder, or its name under runs/.")],
    design: Annotated[str, typer.Argument(help="A design's name, its id or the beginning of its id.")],
    as_json: AsJson = False,
) -> None:
    """Explain what became of one design. Why it was made, every decision about it, why it waits or will not climb."""
    from genesys.api import open_run
    from genesys.evolution.promotion.explanation import explain

    opened = open_run(run)
    record = opened.record(design)
    strategy, note = _strategy_of(opened)
    with closing(opened.store.journal(mode="reader")) as journal:
        found = explain(opened.tree, record.id, journal.read(), strategy)
    if as_json:
        print_json(asdict(found) | {"state": record.state.value, "policy_note": note})
    else:
        _print(found, note)


def _strategy_of(opened: Run) -> tuple[PromotionStrategy | None, str]:
    """The run's promotion, or why it cannot be asked here."""
    from genesys.config import strategy
    from genesys.errors import ConfigError
    from genesys.evolution.promotion import resolve_promotion

    sys.path.insert(0, str(Path.cwd()))  # where strategies named `module:Class` are looked for
    try:
        chosen = strategy(opened.config.promotion)
        return resolve_promotion(chosen.name, chosen.options), ""
    except ConfigError as error:
        return None, f"The policy could not be asked what it would do: {error}"


def _print(found: Explanation, note: str) -> None:
    console = make_console()
    console.print(f"{found.name}  ({found.design[:12]}); times are UTC", style="bold", highlight=False, markup=False)
    for told in found.history:
        time = datetime.fromtimestamp(told.time, UTC).strftime("%Y-%m-%d %H:%M:%S")
        print_notes(console, [f"{time}  {told.text}"])
    console.print("Where it stands:", style="bold")
    print_notes(console, [*found.now, *([note] if note else [])])
