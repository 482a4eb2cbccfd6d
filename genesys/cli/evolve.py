"""`genesys evolve CONFIG`: run an evolution and show how it goes."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from genesys.cli._output import AsJson, leaderboard_table, make_console, print_json


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
    console.print(f"Run [bold]{folder.name}[/bold] in {folder}")
    try:
        with progress_display(console) as display:
            run = evolve(
                loaded, resume=resume, run_folder=folder, dashboard=dashboard, on_snapshot=display.show,
                on_session=display.session,
            )  # fmt: skip
    except KeyboardInterrupt:
        console.print(f"\nInterrupted; nothing is lost. Go on with: genesys evolve {config} --resume")
        sys.exit(130)
    _conclude(run, console, as_json=as_json)


def _conclude(run: Any, console: Any, *, as_json: bool) -> None:
    rows = run.leaderboard()
    if as_json:
        print_json(rows)
        return
    if n := run.tree.counters["policy_failed"]:
        console.print(
            f"[yellow]A strategy failed {n} times and was replaced by a random choice; the journal says why.[/]"
        )
    console.print(leaderboard_table(rows[:20], title=f"Leaderboard of {run.name}"))
    console.print(
        "Fitness: 0 is the GPT seed at that scale, 1 the spread of the seeds. Differences inside the intervals are noise; "
        "with fewer than three training seeds each, none is a claim."
    )
    console.print(
        f"{run.tree.finished or run.tree.draining}. More: genesys leaderboard {run.name}, genesys show {run.name} {rows[0]['name']}"
        if rows
        else "No design was rated."
    )
