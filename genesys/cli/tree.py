"""`genesys tree RUN`: who descends from whom."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from genesys.cli._output import AsJson, make_console, print_json


def command(
    run: Annotated[str, typer.Argument(help="A run's folder, or its name under runs/.")],
    as_json: AsJson = False,
) -> None:
    """Show the evolution as a tree. Each design stands below its first parent."""
    from genesys.api import open_run

    opened = open_run(run)
    if as_json:
        print_json([_entry(opened.tree, record) for record in opened.tree])
        return
    from rich.tree import Tree

    root = Tree(f"[bold]{opened.name}[/bold]")
    branches: dict[str, Any] = {}
    for record in opened.tree:
        above = branches.get(record.parents[0]) if record.parents else None
        fitness = tuple(opened.tree.ratings.fitness(record.id).items())
        result = f"twin of {opened.record(record.inherited_from).name}" if record.inherited_from else record.state.value
        if fitness:
            scale, value = fitness[-1]
            result = f"{value.value:+.2f} ({value.low:+.2f} to {value.high:+.2f}) at {scale}"
        others = "".join(f" x {opened.record(parent).name}" for parent in record.parents[1:])
        label = f"{record.name}  [dim]{record.operator}{others}[/dim]  {result}"
        branches[record.id] = (above if above is not None else root).add(label)
    make_console().print(root)


def _entry(tree: Any, record: Any) -> dict[str, Any]:
    fitness = {s: value.value for s, value in tree.ratings.fitness(record.inherited_from or record.id).items()}
    return {
        "design": record.id, "name": record.name, "parents": list(record.parents), "operator": record.operator,
        "state": record.state.value, "fitness": fitness, "inherited_from": record.inherited_from,
    }  # fmt: skip
