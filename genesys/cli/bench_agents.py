"""`genesys bench-agents`: which share of given proposals language models turn into valid designs, by flow and model."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from genesys.cli._output import AsJson, Folded, counted, fitted_table, make_console, print_json, print_notes
from genesys.errors import ConfigError, TransientError, suggest

if TYPE_CHECKING:
    from genesys.agents.bench import Bench, Case, Problem
    from genesys.agents.bench_results import BenchFlow, Result
    from genesys.ladder import Scale
    from genesys.llm.settings import AgentsConfig

_SETTINGS_FILE = "bench.json"
_EXIT_STOPPED, _EXIT_INTERRUPTED = 2, 130


def command(
    problems: Annotated[Path | None, typer.Option(help="YAML file of problems. [default: the 100 that we ship]")] = None,
    flow: Annotated[
        list[str] | None, typer.Option(help="direct, units or beam; again for each. [default: all three]")
    ] = None,
    model: Annotated[list[str] | None, typer.Option(help="LiteLLM's name of a model; again for each to compare.")] = None,
    api_base: Annotated[str | None, typer.Option(help="URL of an OpenAI-compatible server.")] = None,
    api_key_env: Annotated[str | None, typer.Option(help="Environment variable that holds the key.")] = None,
    input_usd: Annotated[float | None, typer.Option(help="Dollars for a million tokens sent; 0 for free.")] = None,
    output_usd: Annotated[float | None, typer.Option(help="Dollars for a million tokens answered; 0 for free.")] = None,
    config: Annotated[Path | None, typer.Option(help="YAML file of a run, for its agents and ladder.")] = None,
    n: Annotated[int | None, typer.Option(min=1, help="So many of the problems, evenly over the list.")] = None,
    cap_usd: Annotated[float | None, typer.Option(help="The most that all of it may cost.")] = None,
    ladder: Annotated[str | None, typer.Option(help="The ladder whose scales designs must fit. [default: cpu]")] = None,
    at_once: Annotated[int, typer.Option(min=1, help="Problems at once.")] = 4,
    out: Annotated[Path | None, typer.Option(help="Folder for results, or one to go on with. [default: a new one]")] = None,
    as_json: AsJson = False,
) -> None:  # fmt: skip
    """Measure the writing of designs. Exit code 0 when all problems were tried, 2 when money or answers ran out.

    Interrupt it safely with Ctrl-C, and go on by naming its folder in --out: no answer is paid for again.
    """
    from genesys.agents.alone import check_reach
    from genesys.agents.bench import spread
    from genesys.agents.bench_results import FLOWS
    from genesys.cli._problems import cases_of, read_problems

    entry = {"api_base": api_base, "api_key_env": api_key_env, "input_usd": input_usd, "output_usd": output_usd}
    agents, scales = _read_config(config, model or [], entry, cap_usd, ladder)
    models = compared(agents, config if not model else None)
    posed = read_problems(problems)
    cases = cases_of(
        spread(posed, n or len(posed)), list(models), [_flow(name) for name in dict.fromkeys(flow or FLOWS)]
    )
    asyncio.run(check_reach(agents))
    folder = out or Path("runs") / "bench-agents" / time.strftime("%Y%m%d-%H%M%S")
    _settle(folder, agents, scales, posed)
    console = make_console(stderr=as_json)
    console.print(f"Results in {folder}", highlight=False)
    again = f"Go on with the same command and --out {folder}"
    try:
        bench = asyncio.run(_bench(folder, agents, models, scales, cases, at_once, console))
    except KeyboardInterrupt:
        console.print(f"\nInterrupted; what was answered is kept. {again}", markup=False)
        sys.exit(_EXIT_INTERRUPTED)
    except TransientError as error:
        console.print(f"{error}\n{again}", markup=False)
        sys.exit(_EXIT_STOPPED)
    _report(bench, folder, as_json=as_json)
    if bench.stopped:
        console.print(f"Stopped: {bench.stopped}\n{again}", markup=False, highlight=False)
        sys.exit(_EXIT_STOPPED)


def compared(agents: AgentsConfig, config: Path | None) -> dict[str, AgentsConfig]:
    """Who is compared: each model alone, or the models of a configuration together, as its roles use them."""
    if config is not None:
        return {config.stem: agents}
    return {model.name: replace(agents, models={"default": (model,)}) for model in agents.models["default"]}


def _read_config(
    config: Path | None, models: list[str], entry: dict[str, Any], cap_usd: float | None, ladder: str | None
) -> tuple[AgentsConfig, tuple[Scale, ...]]:
    from genesys.api import find_ladder
    from genesys.cli._assignment import agents_of
    from genesys.config import load_config
    from genesys.llm.settings import AgentsConfig

    run = load_config(config) if config else None
    agents = agents_of(run.agents if run else AgentsConfig(), models, entry, {}, cap_usd)
    rungs = run.resolved_ladder() if run and ladder is None else find_ladder(ladder or "cpu")
    return agents, rungs.scales


def _flow(name: str) -> BenchFlow:
    from genesys.agents.bench_results import FLOWS

    for flow in FLOWS:
        if flow == name:
            return flow
    raise ConfigError(f"Cannot use --flow {name!r}: expected {', '.join(FLOWS)}.{suggest(name, FLOWS)}")


def _settle(folder: Path, agents: AgentsConfig, scales: Sequence[Scale], problems: Sequence[Problem]) -> None:
    """Note in a new folder what decides its results; more problems, flows, models and money may be added later.

    Raises:
        ConfigError: It was begun with something else.
    """
    now: dict[str, Any] = {
        "limits": asdict(agents.limits),
        "scales": [asdict(scale) for scale in scales],
        "problems": {problem.name: asdict(problem) for problem in problems},
    }
    now, file = json.loads(json.dumps(now)), folder / _SETTINGS_FILE
    before = json.loads(file.read_text(encoding="utf-8")) if file.exists() else now
    now["problems"] = {**before["problems"], **now["problems"]}
    for what in ("limits", "scales", "problems"):
        kept = {name: now[what][name] for name in before[what]} if what == "problems" else now[what]
        if before[what] != kept:
            raise ConfigError(
                f"Cannot go on in {str(folder)!r}: it was begun with other {what}; expected the same, so that results can "
                f"be compared. Name another folder with --out."
            )
    if now != before or not file.exists():
        folder.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(now, indent=1), encoding="utf-8")


async def _bench(
    folder: Path, agents: AgentsConfig, models: Mapping[str, AgentsConfig], scales: tuple[Scale, ...],
    cases: Sequence[Case], n_at_once: int, console: Any,
) -> Bench:  # fmt: skip
    from genesys.agents import BENCH_MODULES, Workbench, bounds
    from genesys.agents.bench import Bench
    from genesys.api import VOCAB_SIZE
    from genesys.checker import VerdictCache
    from genesys.llm.book import CallBook
    from genesys.llm.calls import CALLS_FILE
    from genesys.llm.client import LiteLLMClient
    from genesys.llm.limits import paces
    from genesys.llm.local_treasury import LocalTreasury
    from genesys.llm.prices import PriceList
    from genesys.sandbox import ForkCage

    with closing(CallBook(folder / CALLS_FILE, agents.caps, PriceList.of(agents).to_json())) as book:
        client = LiteLLMClient()
        async with ForkCage(preload=BENCH_MODULES) as cage:
            bench = Bench(
                folder, models, bounds(scales, VOCAB_SIZE), treasury=LocalTreasury(book, paces(agents.models)), client=client,
                workbench=Workbench(cage, scales, VOCAB_SIZE, verdicts=VerdictCache(folder / "verdicts")),
            )  # fmt: skip
            progress = _Progress(console, len(cases), len(cases) - len(bench.todo(cases)))
            await bench.run(cases, n_at_once=n_at_once, on_result=progress.show)
        await client.close()
    return bench


class _Progress:
    """A line for each result."""

    def __init__(self, console: Any, n: int, n_done: int) -> None:
        self._console, self._n, self._n_done = console, n, n_done
        if n_done:
            console.print(f"{n_done} of {n} were done before", highlight=False)

    def show(self, result: Result) -> None:
        self._n_done += 1
        self._console.print(
            f"{self._n_done}/{self._n} {result.problem} {result.flow} {result.model}: {result.outcome}, "
            f"{counted(result.n_answers, 'answer')}, {result.cost_usd:.4f} USD",
            markup=False, highlight=False, soft_wrap=not self._console.is_terminal,
        )  # fmt: skip


def _report(bench: Bench, folder: Path, *, as_json: bool) -> None:
    from genesys.agents.bench_results import rates

    found = rates(bench.results)
    if as_json:
        print_json({"folder": str(folder), "stopped": bench.stopped, "rates": found})
        return
    console = make_console()
    if found:
        console.print(fitted_table("Valid designs", _columns(found), names=("model",)), "")
        print_notes(console, _notes(found))


def _columns(found: Sequence[Mapping[str, Any]]) -> dict[str, list[Any]]:
    modes = list(dict.fromkeys(mode for row in found for mode in row["modes"]))
    return {
        "flow": [row["flow"] for row in found],
        "model": [Folded(row["model"]) for row in found],
        "valid": [f"{row['n_valid']} of {row['n']}" for row in found],
        "95%": [f"{row['valid']['low']:.0%}-{row['valid']['high']:.0%}" for row in found],
        "straight": [f"{row['straight']['value']:.0%}" for row in found],
        "answers": [f"{row['answers']:.1f}" for row in found],
        "calls": [f"{row['n_calls']:,}" for row in found],
        "USD": [f"{row['usd']:.3g}" for row in found],
        "USD/valid": ["" if row["usd_per_valid"] is None else f"{row['usd_per_valid']:.2g}" for row in found],
        **{mode: [f"{row['modes'][mode]['value']:.0%}" if mode in row["modes"] else "" for row in found] for mode in modes},
        "tokens in": [f"{row['n_input']:,}" for row in found],
        "tokens out": [f"{row['n_output']:,}" for row in found],
    }  # fmt: skip


def _notes(found: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    for row in found:
        if row["causes"]:
            why = ", ".join(f"{cause} {n}" for cause, n in row["causes"].items())
            yield f"Not valid by {row['flow']}, {row['model']}: {why}."
    yield "straight: valid, and no answer of the coder was in vain. answers: of the coder for each problem."
