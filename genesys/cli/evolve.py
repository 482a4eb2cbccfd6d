"""`genesys evolve CONFIG`: run an evolution and show how it goes."""

from __future__ import annotations

import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from genesys.cli._ending import ended_note, failure_notes, fitness_note, unmeasured_note, unrated_note
from genesys.cli._output import AsJson, leaderboard_table, make_console, print_json, print_notes

if TYPE_CHECKING:
    from cluster.session import Session
    from genesys.api import Run


def command(
    config: Annotated[Path, typer.Argument(help="YAML file of the run, such as configs/quickstart.yaml.")],
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the last run of this configuration.")] = False,
    run_folder: Annotated[Path | None, typer.Option("--run", help="Folder of the run, instead of a new one.")] = None,
    dashboard: Annotated[bool, typer.Option(help="Start the Ray dashboard on this machine.")] = True,
    as_json: AsJson = False,
) -> None:
    """Run an evolution. Interrupt it safely with Ctrl-C, and go on with --resume."""
    from genesys.api import evolve, run_folder_for
    from genesys.cli._progress import progress_display
    from genesys.config import load_config

    sys.path.insert(0, str(Path.cwd()))  # where strategies named `module:Class` are looked for
    loaded = load_config(config)
    folder = run_folder or run_folder_for(loaded, loaded.name or config.stem, resume=resume)
    console = make_console(stderr=as_json)
    again = f"genesys evolve {config} --resume" + (f" --run {run_folder}" if run_folder else "")
    try:
        with progress_display(console) as display:

            def begin(session: Session) -> None:
                signal.signal(signal.SIGTERM, _as_ctrl_c)  # Ray has set its own, which ends with a dump of the stack
                console.print(f"Run [bold]{folder.name}[/bold] in {folder}")
                display.session(session)

            run = evolve(
                loaded, resume=resume, run_folder=folder, dashboard=dashboard, on_snapshot=display.show,
                on_session=begin,
            )  # fmt: skip
    except KeyboardInterrupt:
        console.print(f"\nInterrupted; nothing is lost. Go on with: {again}")
        sys.exit(130)
    _conclude(run, console, again, str(config), as_json=as_json)


def _as_ctrl_c(*_: object) -> None:
    signal.raise_signal(signal.SIGINT)


def _conclude(run: Run, console: Any, again: str, config: str, *, as_json: bool) -> None:
    from genesys.evolution.promotion.explanation import how_to_go_on

    rows, tree = run.leaderboard(), run.tree
    print_notes(console, filter(None, [*failure_notes(run), unmeasured_note(tree)]))
    if as_json:
        print_json(rows)
        return
    hint = how_to_go_on(tree, again, config)
    if not rows:
        print_notes(console, filter(None, [unrated_note(run), hint]))
        return
    console.print(leaderboard_table(rows[:20], title=f"Leaderboard of {run.name}"))
    noise = "Differences inside the intervals are noise; with fewer than three training seeds each, none is a claim."
    pointers = f"More: genesys leaderboard {run.name}, genesys show {run.name} {rows[0]['name']}"
    print_notes(console, filter(None, [f"{fitness_note(tree)} {noise}", f"{ended_note(run)} {pointers}", hint]))
