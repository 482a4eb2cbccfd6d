"""`genesys plan CONFIG`: what a run takes, before it runs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from genesys.cli._output import AsJson, counted, make_console, make_table, print_json, print_notes, short

if TYPE_CHECKING:
    from genesys.config import RunConfig
    from genesys.ladder import RunPlan, Workload
    from genesys.ladder.cost import Questions
    from genesys.ladder.hardware import Hardware
    from genesys.train.data.dataset import DatasetCorpus

CORPUS_TOKENS = {"chengjunyan1/smollm-12.5-corpus": 34_780_000_000}  # Cheng et al. 2025, with a vocabulary of 32,000
HUB_VOCAB_SIZE = 32_000


def command(
    configs: Annotated[list[Path], typer.Argument(help="YAML files of runs.")],
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
    from genesys.ladder import load_hardware, plan_run

    known = load_hardware(measured)
    chosen = [_named(name, known) for name in hardware or ()] or [h for h in known.values() if h.name != "reference"]
    loaded = {config: load_config(config) for config in configs}
    works = {config: workload(each, vocab_size=vocab) for config, each in loaded.items()}
    plans = {config: [plan_run(work, each) for each in chosen] for config, work in works.items()}
    if as_json:
        found = [
            {"config": str(config), "plans": [_to_json(p, known[p.hardware], loaded[config]) for p in each]}
            for config, each in plans.items()
        ]
        print_json(found[0] if len(found) == 1 else found)
        return
    console = make_console()
    for config, work in works.items():
        if config != configs[0]:
            console.print()
        title = f"{config}: {counted(work.n_verifiers, 'verifier')}, {work.vocab_size:,} tokens in the vocabulary"
        console.print(title, style="italic", highlight=False, markup=False)
        console.print(_summary(plans[config]))
        print_notes(console, (*_notes(work, plans[config]), *_budget_notes(plans[config], loaded[config])))
        for plan in plans[config] if hardware else ():
            console.print("", _rungs(plan))
            print_notes(console, _rungs_notes(plan, known[plan.hardware]))
    if not hardware:
        print_notes(console, ["Rungs and the sources of the figures: genesys plan CONFIG --hardware H100."])


def _named(name: str, known: Mapping[str, Hardware]) -> Hardware:
    from genesys.errors import ConfigError, suggest

    found = next((each for each in known.values() if each.name.casefold() == name.casefold()), None)
    if found is None:
        near = suggest(name, known) or suggest(name.upper(), known)
        raise ConfigError(f"Cannot plan for {name!r}: expected {', '.join(known)}.{near}")
    return found


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


def _summary(plans: list[RunPlan]) -> Any:
    columns = ("hardware", "time", "device-\nhours", "USD", "disk", "busy")
    table = make_table("", columns, names=("hardware",))
    for plan in plans:
        devices = f"{plan.n_devices:,g} {plan.unit}{'' if plan.n_devices == 1 else 's'}"
        table.add_row(
            f"{plan.hardware}, {devices}{'' if plan.fits else ' *'}", _time(plan.makespan_s), _figure(plan.device_hours),
            f"{plan.usd:,.0f}", _bytes(plan.disk_bytes), f"{plan.busy_share:.0%}",
        )  # fmt: skip
    return table


def _notes(work: Workload, plans: list[RunPlan]) -> Iterator[str]:
    if not all(plan.fits for plan in plans):
        most = max(rung.cost.memory_bytes for plan in plans for rung in plan.rungs if not rung.fits)
        yield f"* Too little memory: the largest rung takes {_bytes(most)} or more."
    if unknown := sorted({task for asked in work.questions.values() for task in asked.unknown}):
        yield f"Not counted, for want of their size: tasks {', '.join(unknown)}."


def _to_json(plan: RunPlan, hardware: Hardware, config: RunConfig) -> dict[str, Any]:
    from genesys.ladder.plan import binding_caps

    binding = [asdict(cap) for cap in binding_caps(plan, config.budget.caps())]
    return plan.to_json() | {"sources": hardware.sources, "budget": binding}


def _budget_notes(plans: list[RunPlan], config: RunConfig) -> Iterator[str]:
    """A sentence for each cap that ends the run early; GPU time and money by hardware."""
    from genesys.ladder.plan import binding_caps

    found = [(plan.hardware, cap) for plan in plans for cap in binding_caps(plan, config.budget.caps())]
    for name, unit in (("runs", "runs"), ("tokens", "tokens"), ("gpu_hours", "GPU-hours"), ("usd", "USD")):
        binding = {hardware: cap for hardware, cap in found if cap.cap == name}
        if not binding:
            continue
        first = next(iter(binding.values()))
        takes = f"{first.takes:,.0f}"
        if name in ("gpu_hours", "usd"):
            takes = ", ".join(f"{_figure(cap.takes)} on {hardware}" for hardware, cap in binding.items())
        unit = unit.removesuffix("s") if first.at_most == 1 else unit
        yield f"budget: {_exact(first.at_most)} {unit}; the quotas take {takes}: it will end before them."


def _rungs(plan: RunPlan) -> Any:
    columns = ("scale", "runs", "tokens", "training", "evaluation,\nprobes", "in all", "device-\nhours", "memory")
    table = make_table(f"{plan.hardware}, a verification at each rung", columns, names=("scale",), gap=1)
    for rung in plan.rungs:
        table.add_row(
            rung.scale, f"{rung.n_designs:,}" + (f" + {rung.n_replicates:,}" if rung.n_replicates else ""),
            short(rung.cost.n_tokens), _time(rung.train_s), _time(rung.eval_s + rung.probe_s),
            _time(rung.seconds), _figure(rung.device_hours),
            _bytes(rung.cost.memory_bytes) + ("" if rung.fits else " *"),
        )  # fmt: skip
    total = sum(rung.n_runs for rung in plan.rungs)
    table.add_row("total", f"{total:,}", *[""] * 4, _figure(plan.device_hours), "", style="bold")
    return table


def _rungs_notes(plan: RunPlan, hardware: Hardware) -> Iterator[str]:
    yield f"Critical path, one verification of each rung after the other: {_time(plan.critical_path_s)}."
    yield f"Without the ladder: {_figure(plan.without_ladder_hours)} device-hours."
    for figure, source in hardware.sources.items():
        yield f"Source of {figure}: {source}"


def _time(seconds: float) -> str:
    for unit, size in (("d", 86_400.0), ("h", 3_600.0), ("min", 60.0)):
        if seconds >= 2 * size:
            return f"{_figure(seconds / size)} {unit}"
    return f"{seconds:,.0f} s"


def _figure(x: float) -> str:
    return f"{x:,.0f}" if x >= 99.95 else f"{x:.1f}"


def _exact(x: float) -> str:
    return f"{x:,}".removesuffix(".0")


def _bytes(n_bytes: float) -> str:
    for unit, size in (("TB", 1e12), ("GB", 1e9)):
        if n_bytes >= size:
            return f"{_figure(n_bytes / size)} {unit}"
    return f"{n_bytes / 1e6:,.0f} MB"
