"""`genesys ablations CONFIGS...`: configurations against each other on equal budgets."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from genesys.cli._output import AsJson, Folded, fitted_table, make_console, print_json, print_notes
from genesys.errors import ConfigError

if TYPE_CHECKING:
    from cluster.ablations import Results
    from genesys.evolution.courses import Arm, Estimate

_EXIT_INTERRUPTED = 130


def command(
    configs: Annotated[list[Path], typer.Argument(help="YAML files, such as configs/ablations/full.yaml; the first is compared with.")],
    out: Annotated[Path, typer.Option(help="Folder of the runs.")],
    runs: Annotated[int, typer.Option(min=1, help="Seeds of each configuration.")] = 3,
    budget: Annotated[
        list[str] | None, typer.Option(help="Of each run: designs=N, gpu_hours=X, usd=X; again, or with commas, for more than one.")
    ] = None,
    base: Annotated[Path | None, typer.Option(help="File that takes the place of the one the configurations differ from.")] = None,
    scale: Annotated[str | None, typer.Option(help="At which designs are compared; the lowest by default.")] = None,
    table: Annotated[bool, typer.Option("--table", help="Run nothing; show what is there.")] = False,
    as_json: AsJson = False,
) -> None:  # fmt: skip
    """Run configurations on equal budgets, and tabulate them. Interrupt it with Ctrl-C; the same command goes on."""
    from cluster.ablations import plan_trials, results, results_to_json, run_trials
    from cluster.evolve import evolve
    from genesys.cli._progress import progress_display

    sys.path.insert(0, str(Path.cwd()))  # where strategies named `module:Class` are looked for
    amounts = read_budget(budget or [])
    trials = plan_trials(configs, out, n_seeds=runs, budget=amounts, base=base)
    console = make_console(stderr=as_json)
    if not table:
        try:
            with progress_display(console) as display:
                run_trials(
                    trials, evolve, lambda t, how: console.print(f"{t.name}, seed {t.seed}: {how}", highlight=False),
                    dashboard=False, on_snapshot=display.show,
                )  # fmt: skip
        except KeyboardInterrupt:
            console.print("\nInterrupted; nothing is lost. Go on with the same command.")
            sys.exit(_EXIT_INTERRUPTED)
    found = results(trials, amounts, scale)
    if as_json:
        print_json(results_to_json(found))
        return
    console.print(results_table(found))
    print_notes(console, results_notes(found))


def read_budget(texts: list[str]) -> dict[str, float]:
    """`designs=20,usd=5` as a mapping.

    Raises:
        ConfigError: Something else.
    """
    amounts = {}
    for part in ",".join(texts).split(",") if texts else ():
        name, _, amount = part.partition("=")
        try:
            amounts[name.strip()] = float(amount)
        except ValueError:
            raise ConfigError(f"Cannot read the budget {part!r}: expected one such as designs=20 or usd=5.") from None
    return amounts


def results_table(found: Results) -> Any:
    """One row a configuration."""
    hours = "GPU-\nhours" if found.on_gpus else "hours"
    at = {
        "designs": f"best at\n{found.amounts['designs']:g} designs", "hours": f"best at\n{found.amounts['hours']:.3g} h",
        "usd": f"best at\n{found.amounts['usd']:.3g} USD",
    }  # fmt: skip
    columns: dict[str, list[Any]] = {"config": [Folded(arm.name) for arm in found.arms]}
    columns["runs"] = [str(arm.n_runs) for arm in found.arms]
    for means, heading in at.items():
        if means == "designs" or found.amounts[means] < float("inf"):  # type: ignore[index]  # the keys are the means
            columns[heading] = [_said(arm.best[means]) for arm in found.arms]  # type: ignore[index]
    columns["than\nfirst"] = [_verdict(arm) for arm in found.arms]
    columns["de-\nsigns"] = [_plain(arm.used["designs"]) for arm in found.arms]
    columns[hours] = [_plain(arm.used["hours"]) for arm in found.arms]
    columns["USD"] = [_plain(arm.used["usd"]) for arm in found.arms]
    columns["valid"] = ["" if arm.valid is None else f"{arm.valid.mean:.0%}" for arm in found.arms]
    columns["mean of\nall found"] = [_said(arm.mean) for arm in found.arms]
    return fitted_table(f"Configurations at {found.scale}, fitness", columns, names=("config",))


def results_notes(found: Results) -> Iterator[str]:
    """What the table holds, and what it allows one to say."""
    yield (
        "Best: fitness of the best design found, mean over the runs; ± half a 95% bootstrap interval, too narrow below five runs. "
        "Each column is at an amount that all runs have used. Starting designs do not count as found. Valid: of attempts, by "
        "the checker."
    )
    if found.amounts["usd"] == float("inf"):
        yield "No run has cost a dollar."
    first, rest = (found.arms[0].name, found.arms[1:]) if found.arms else ("", [])
    pairs = max((arm.against.n_pairs for arm in rest if arm.against), default=0)
    if rest and pairs < 3:
        yield f"No claim against {first}: it takes three or more runs of each, with the same seeds."
    elif rest:
        yield f"Verdicts against {first}: at equal designs, paired by seed, always valid, corrected for {len(rest)}."


def _said(estimate: Estimate | None) -> str:
    if estimate is None:
        return "none"
    if estimate.low is None or estimate.high is None:
        return f"{estimate.mean:+.2f}"
    return f"{estimate.mean:+.2f} ± {(estimate.high - estimate.low) / 2:.2f}"


def _plain(estimate: Estimate | None) -> str:
    return "" if estimate is None else f"{estimate.mean:.3g}"


def _verdict(arm: Arm) -> str:
    c = arm.against
    if c is None:
        return ""
    return f"{c.difference:+.2f}" + (f", {c.verdict}" if c.verdict in ("better", "worse") else "")
