"""`genesys plan CONFIG`: what a run takes, before it runs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from genesys.cli._output import AsJson, make_console, print_json

if TYPE_CHECKING:
    from genesys.config import RunConfig
    from genesys.ladder import RunPlan, Workload
    from genesys.ladder.cost import Questions
    from genesys.train.data.dataset import DatasetCorpus

CORPUS_TOKENS = {"chengjunyan1/smollm-12.5-corpus": 34_780_000_000}  # Cheng et al. 2025, with a vocabulary of 32,000
HUB_VOCAB_SIZE = 32_000


def command(
    config: Annotated[Path, typer.Argument(help="YAML file of the run.")],
    hardware: Annotated[
        list[str] | None,
        typer.Option(help="What to show in full, such as H100; may be repeated. All in short by default."),
    ] = None,
    measured: Annotated[
        Path | None, typer.Option(help="JSON file of figures measured on one's own machines, to go before ours.")
    ] = None,
    vocab: Annotated[
        int | None,
        typer.Option(help="Size of the vocabulary, where the configuration leaves it to a tokenizer of the hub."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Predict time, device-hours, money and disk of a run."""
    from genesys.config import load_config
    from genesys.errors import ConfigError, suggest
    from genesys.ladder import load_hardware, plan_run

    work, known = workload(load_config(config), vocab_size=vocab), load_hardware(measured)
    for name in hardware or ():
        if name not in known:
            raise ConfigError(f"Cannot plan for {name!r}: expected {', '.join(known)}.{suggest(name, known)}")
    chosen = hardware or [name for name in known if name != "reference"]
    plans = [plan_run(work, known[name]) for name in chosen]
    if as_json:
        print_json(
            {"config": str(config), "plans": [p.to_json() | {"sources": known[p.hardware].sources} for p in plans]}
        )
        return
    console = make_console()
    console.print(
        _summary(plans, title=f"{config}: {work.n_verifiers} verifiers, {work.vocab_size:,} tokens in the vocabulary")
    )
    for plan in plans if hardware else ():
        console.print(_rungs(plan))
        for figure, source in known[plan.hardware].sources.items():
            typer.echo(f"  {figure}: {source}")
    if unknown := sorted({task for asked in work.questions.values() for task in asked.unknown}):
        typer.echo(f"Not counted, for want of their size: tasks {', '.join(unknown)}.")
    if not hardware:
        typer.echo("Rungs and the sources of the figures: genesys plan CONFIG --hardware H100.")


def workload(config: RunConfig, *, vocab_size: int | None = None) -> Workload:
    """What a configuration asks for.

    Raises:
        ConfigError: It names a suite that there is not.
    """
    from genesys.ladder import Workload

    ladder, verifiers = config.resolved_ladder(), config.verifiers
    return Workload(
        ladder=ladder,
        vocab_size=vocab_size or _vocab_size(config.tokenizer),
        n_verifiers=verifiers.n,
        questions={scale.name: _questions(scale.suite) for scale in ladder.scales if scale.suite},
        training_seeds=config.training_seeds,
        cards=verifiers.gpus_per_verification or 1.0,
        cores=verifiers.threads,
        probes=verifiers.probes,
        corpus_tokens=_corpus_tokens(config.corpus),
    )


def _corpus_tokens(corpus: str | DatasetCorpus) -> int | None:
    """What is packed of a data set: what is asked for, or all of one whose size is on record."""
    if isinstance(corpus, str):
        return None
    return int(corpus.tokens) or CORPUS_TOKENS.get(corpus.dataset)


def _vocab_size(tokenizer: str) -> int:
    kind, _, rest = tokenizer.partition(":")
    return 257 if kind == "bytes" else int(rest) if kind == "bpe" and rest.isdigit() else HUB_VOCAB_SIZE


def _questions(suite: str) -> Questions:
    from genesys.evaluate.harness.suites import load_suite
    from genesys.ladder.cost import questions_of

    return questions_of({entry.task: entry.limit for entry in load_suite(suite).tasks})


def _summary(plans: list[RunPlan], *, title: str) -> Any:
    from rich.table import Table

    table = Table(title=title, title_justify="left", header_style="bold")
    columns = (
        "hardware",
        "devices",
        "time",
        "critical path",
        "busy",
        "device-hours",
        "USD",
        "disk",
        "without the ladder",
    )
    for column in columns:
        table.add_column(column, justify="left" if column == "hardware" else "right", no_wrap=True)
    for plan in plans:
        table.add_row(
            plan.hardware + ("" if plan.fits else " (too little memory)"), f"{plan.n_devices:g} {plan.unit}s",
            _time(plan.makespan_s), _time(plan.critical_path_s), f"{plan.busy_share:.0%}", _hours(plan.device_hours),
            f"{plan.usd:,.0f}", _bytes(plan.disk_bytes), _hours(plan.without_ladder_hours) + " h",
        )  # fmt: skip
    return table


def _rungs(plan: RunPlan) -> Any:
    from rich.table import Table

    table = Table(title=f"{plan.hardware}, a verification at each rung", title_justify="left", header_style="bold")
    columns = (
        "scale",
        "runs",
        "tokens",
        "FLOPs",
        "training",
        "evaluation",
        "probes",
        "in all",
        "device-hours",
        "memory",
    )
    for column in columns:
        table.add_column(column, justify="left" if column == "scale" else "right", no_wrap=True)
    for rung in plan.rungs:
        table.add_row(
            rung.scale, f"{rung.n_designs:,}" + (f" + {rung.n_replicates:,}" if rung.n_replicates else ""),
            f"{rung.cost.n_tokens / 1e6:,.1f} M", f"{rung.cost.train_flops:.2e}", _time(rung.train_s), _time(rung.eval_s),
            _time(rung.probe_s), _time(rung.seconds), _hours(rung.device_hours),
            _bytes(rung.cost.memory_bytes) + ("" if rung.fits else " (does not fit)"),
        )  # fmt: skip
    total = sum(rung.n_runs for rung in plan.rungs)
    table.add_row("total", f"{total:,}", *[""] * 6, _hours(plan.device_hours), "", style="bold")
    return table


def _time(seconds: float) -> str:
    for unit, size in (("d", 86_400.0), ("h", 3_600.0), ("min", 60.0)):
        if seconds >= 2 * size:
            return f"{seconds / size:,.1f} {unit}"
    return f"{seconds:,.0f} s"


def _hours(hours: float) -> str:
    return f"{hours:,.1f}" if hours >= 10 else f"{hours:.2f}"


def _bytes(n_bytes: float) -> str:
    for unit, size in (("TB", 1e12), ("GB", 1e9)):
        if n_bytes >= size:
            return f"{n_bytes / size:,.1f} {unit}"
    return f"{n_bytes / 1e6:,.0f} MB"
