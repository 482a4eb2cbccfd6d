"""`genesys ablate DESIGN --scale S`: what each unit of a design is worth."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from genesys.cli._output import AsJson, Folded, make_console, make_table, print_json, print_notes, printable
from genesys.cli._statistics import verdict

if TYPE_CHECKING:
    from genesys.cli._ablating import Task
    from genesys.config import RunConfig
    from genesys.gau import UnitTree
    from genesys.ladder import Scale
    from genesys.verification import VerificationProgress

_METRICS = ("test_bpb", "probe_recall")


def command(
    design: Annotated[str, typer.Argument(help="A seed's name, a .py, .yaml or .json file, or RUN/DESIGN.")],
    scale: Annotated[str | None, typer.Option(help="The ladder's lowest by default.")] = None,
    seeds: Annotated[int, typer.Option(help="Training seeds of each design, the same ones for all.")] = 3,
    config: Annotated[
        Path | None, typer.Option(help="YAML file of a run: verify as that run would, with its data and its ladder.")
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            help="Folder of the verifications, from which the same call goes on; runs/ablations/<id> by default."
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Measure what each unit is worth. Each is left out, parameters matched; interrupted, it goes on where it was."""
    from genesys.api import find_scale
    from genesys.cli._ablating import Ablating
    from genesys.errors import ConfigError

    if seeds < 1:
        raise ConfigError(f"Cannot ablate with {seeds} training seeds; expected 1 or more, 3 for a claim.")
    name, tree, by = _design(design, config)
    ladder = by.resolved_ladder()
    where = find_scale(scale or ladder.names[0], ladder)
    folder = out or Path("runs") / "ablations" / tree.design_id[:16]
    ablating = Ablating(
        tree=tree, name=name, scale=where, config=by, out=folder, display=_display(where), n_seeds=seeds
    )  # fmt: skip
    try:
        found = ablating.run()
    except KeyboardInterrupt:
        typer.echo(f"\nInterrupted; what has ended is kept in {folder}, and the same command goes on there.", err=True)
        sys.exit(130)
    if as_json:
        print_json(found)
        return
    console = make_console()
    console.print(ablation_table(found))
    print_notes(console, (*ablation_notes(found), f"Kept in {folder / where.name}."))


def _design(reference: str, config: Path | None) -> tuple[str, UnitTree, RunConfig]:
    """A design by name, file or `RUN/DESIGN`, and what it is verified by: the file given, else the run's own settings."""
    from genesys.api import open_run
    from genesys.config import RunConfig, load_config, load_design

    given = None if config is None else load_config(config)
    run, _, name = reference.rpartition("/")
    if run and not Path(reference).exists() and Path(reference).suffix not in (".py", ".yaml", ".json"):
        opened = open_run(run)
        design = opened.design(name)
        return design.name, design.tree, given or opened.config
    return Path(reference).stem, load_design(reference), given or RunConfig()


def _display(scale: Scale) -> Callable[[Task], AbstractContextManager[Callable[[VerificationProgress], None]]]:
    """What shows a verification: which one it is, then how far."""
    from genesys.cli._verifying import verification_display

    console = make_console(stderr=True)

    @contextmanager
    def display(task: Task) -> Iterator[Callable[[VerificationProgress], None]]:
        what = f"without {printable(task.without)}" if task.without else "the design itself"
        console.print(f"{task.place}/{task.n} {what}, training seed {task.seed}", highlight=False, markup=False)
        with verification_display(console, n_tokens=scale.n_tokens) as show:
            yield show

    return display


def ablation_table(found: dict[str, Any]) -> Any:
    """A row for each unit, what gives most fitness first."""
    metrics = [m for m in _METRICS if any(d["metric"] == m for unit in found["units"] for d in unit["metrics"])]
    title = f"{printable(found['name'])} at {found['scale']}, training seeds {', '.join(found['runs'])}: what each unit gives"
    columns = ("unit", "replaced by", "fitness", *(m.replace("_", " ") for m in metrics), "it is")
    table = make_table(title, columns, names=("unit", "replaced by"), gap=1)
    for unit in found["units"]:
        details = {d["metric"]: d for d in unit["metrics"]}
        table.add_row(
            Folded(f"{unit['unit']} at {unit['path']}", "bold"), Folded(unit["replacement"]), _cell(unit["fitness"]),
            *(_cell(details.get(m)) for m in metrics), _said(unit),
        )  # fmt: skip
    return table


def _cell(comparison: dict[str, Any] | None) -> str:
    if comparison is None:
        return ""
    interval = "" if comparison["low"] is None else f" ± {(comparison['high'] - comparison['low']) / 2:.3f}"
    return f"{comparison['difference']:+.3f}{interval}"


def _said(unit: dict[str, Any]) -> str:
    if unit["failed"]:
        return ", ".join(f"seed {seed} failed: {cause}" for seed, cause in unit["failed"].items())
    return verdict(unit["fitness"], unit["fitness"]["n_pairs"]).partition(",")[0]


def ablation_notes(found: dict[str, Any]) -> Iterator[str]:
    """What the table says, and what it does not."""
    yield (
        "Differences are the design minus the design without the unit, paired over training seeds, in each metric's favour: "
        "above 0 the unit helps. ± spans the 95% interval for a number of seeds fixed beforehand; fitness is raw, relative to "
        "the design itself. Parameters are matched by the size tuner; what a unit held is gone with it."
    )
    for unit in found["kept"]:
        yield f"Not taken out: {unit['path']} ({unit['reason']})"
