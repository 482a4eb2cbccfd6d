"""`genesys design`: one session of language models, shown as it goes."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from genesys.cli._output import AsJson, counted, make_console, print_json, printable
from genesys.errors import ConfigError, TransientError

if TYPE_CHECKING:
    from genesys.agents import Conducted
    from genesys.cli._assignment import Assignment
    from genesys.gau import UnitTree
    from genesys.llm.spending import Totals
    from genesys.roles.brief import SessionOutcome
    from genesys.roles.effects import Tell

_EXIT_SANE, _EXIT_NONE, _EXIT_COULD_NOT, _EXIT_INTERRUPTED = 0, 1, 2, 130
_DEADLINE_S = 300.0


def command(
    mode: Annotated[str | None, typer.Option(help="mutation, crossover or scratch. [default: mutation]")] = None,
    parent: Annotated[
        list[str] | None,
        typer.Option(help="What to build on: a seed, a file or RUN/DESIGN; again for each parent. [default: gpt]"),
    ] = None,
    model: Annotated[
        list[str] | None, typer.Option(help="LiteLLM's name of a model, such as openai/gpt-5; again for more than one.")
    ] = None,
    api_base: Annotated[str | None, typer.Option(help="URL of an OpenAI-compatible server.")] = None,
    api_key_env: Annotated[str | None, typer.Option(help="Environment variable that holds the key.")] = None,
    input_usd: Annotated[float | None, typer.Option(help="Dollars for a million tokens sent; 0 for free.")] = None,
    output_usd: Annotated[float | None, typer.Option(help="Dollars for a million tokens answered; 0 for free.")] = None,
    config: Annotated[Path | None, typer.Option(help="YAML file of a run, for its agents and ladder.")] = None,
    cap_usd: Annotated[float | None, typer.Option(help="The most that it may cost.")] = None,
    flow: Annotated[str | None, typer.Option(help="units: unit by unit; direct: the whole block at once.")] = None,
    beam: Annotated[int | None, typer.Option(help="Partial trees kept side by side; 1 is greedy.")] = None,
    ladder: Annotated[str | None, typer.Option(help="The ladder whose scales it must fit. [default: cpu]")] = None,
    seed: Annotated[int, typer.Option(help="Of what is drawn.")] = 0,
    out: Annotated[Path | None, typer.Option(help="File for the design, beside the one in the session's folder.")] = None,
    resume: Annotated[Path | None, typer.Option(help="Folder of a session to go on with; --cap-usd may be raised.")] = None,
    as_json: AsJson = False,
) -> None:  # fmt: skip
    """Have language models make one design. Exit code 0 a sane design, 1 none, 2 could not run.

    Interrupt it safely with Ctrl-C, and go on with --resume: what was answered is not paid again.
    """
    from genesys.agents.alone import check_reach

    if out is not None and not out.parent.is_dir():
        raise ConfigError(
            f"Cannot write to {str(out)!r}: there is no such folder; expected one that exists. Create it."
        )
    fixed = {
        "mode": mode, "parent": parent, "model": model, "api-base": api_base, "api-key-env": api_key_env, "input-usd": input_usd,
        "output-usd": output_usd, "config": config, "flow": flow, "beam": beam, "ladder": ladder, "seed": seed or None,
    }  # fmt: skip
    if resume is not None:
        folder, assignment = resume, _resumed(resume, fixed, cap_usd)
    else:
        session = f"design-{time.strftime('%Y%m%d-%H%M%S')}"
        folder = _free(Path("runs") / "designs" / session.removeprefix("design-"))
        entry = {"api_base": api_base, "api_key_env": api_key_env, "input_usd": input_usd, "output_usd": output_usd}
        assignment = _begun(
            mode or "mutation", parent, model or [], entry, {"flow": flow, "beam": beam}, config, cap_usd, ladder,
            session=session, seed=seed,
        )  # fmt: skip
    asyncio.run(check_reach(assignment.agents))
    if resume is None:
        assignment.save(folder)
    console = make_console(stderr=as_json)
    _say(console, f"Session in {folder}")
    try:
        sys.exit(asyncio.run(_design(assignment, folder, out, console, as_json=as_json)))
    except KeyboardInterrupt:
        _say(console, f"Interrupted; what was answered is kept. Go on with: genesys design --resume {folder}")
        sys.exit(_EXIT_INTERRUPTED)
    except TransientError as error:
        _say(console, f"{error} Go on with: genesys design --resume {folder}")
        sys.exit(_EXIT_COULD_NOT)


def _begun(
    mode: str, parents: list[str] | None, models: list[str], entry: dict[str, Any], limits: dict[str, Any],
    config: Path | None, cap_usd: float | None, ladder: str | None, *, session: str, seed: int,
) -> Assignment:  # fmt: skip
    from genesys.api import VOCAB_SIZE, find_ladder
    from genesys.cli._assignment import agents_of, new_assignment
    from genesys.config import load_config
    from genesys.llm.settings import AgentsConfig

    run = load_config(config) if config else None
    agents = agents_of(run.agents if run else AgentsConfig(), models, entry, limits, cap_usd)
    rungs = run.resolved_ladder() if run and ladder is None else find_ladder(ladder or "cpu")
    default = [] if mode != "mutation" else ["gpt"]
    return new_assignment(mode, parents or default, agents, rungs.scales, VOCAB_SIZE, session=session, seed=seed)


def _resumed(folder: Path, fixed: dict[str, Any], cap_usd: float | None) -> Assignment:
    from genesys.cli._assignment import Assignment, agents_of

    if given := [name for name, value in fixed.items() if value not in (None, [])]:
        raise ConfigError(
            f"Cannot use --{given[0]} with --resume: a session goes on as it was begun. Drop it, or begin a new one."
        )
    assignment = Assignment.load(folder)
    return replace(assignment, agents=agents_of(assignment.agents, (), {}, {}, cap_usd))


def _free(folder: Path) -> Path:
    """The folder, or one beside it that does not exist."""
    beside = (folder.with_name(f"{folder.name}-{i}") for i in range(2, 1000))
    return folder if not folder.exists() else next(path for path in beside if not path.exists())


async def _design(assignment: Assignment, folder: Path, out: Path | None, console: Any, *, as_json: bool) -> int:
    from genesys.agents import BENCH_MODULES, Workbench, document_of, library_documents
    from genesys.agents.alone import design_alone
    from genesys.checker import VerdictCache
    from genesys.sandbox import ForkCage

    told = assignment.brief.evidence
    documents = [
        *library_documents(),
        *map(document_of, (*told.parents, *told.siblings, *told.leaders, *told.failures)),
    ]
    async with ForkCage(preload=BENCH_MODULES) as cage:
        verdicts = VerdictCache(folder / "verdicts")
        bench = Workbench(cage, assignment.scales, assignment.vocab_size, verdicts=verdicts)
        with _Display(console) as display:
            conducted, spent = await design_alone(
                assignment.brief, agents=assignment.agents, folder=folder, workbench=bench, documents=documents,
                on_tell=display.show,
            )  # fmt: skip
        tree = conducted.outcome.tree
        report = await _checked(assignment, tree, cage, verdicts) if tree else None
    return _conclude(conducted, spent, report, folder, out, console, as_json=as_json)


def _conclude(
    conducted: Conducted[SessionOutcome], spent: Totals, report: dict[str, Any] | None, folder: Path, out: Path | None,
    console: Any, *, as_json: bool,
) -> int:  # fmt: skip
    """Write the design and what was said, and tell how it ended and what it cost; gives the exit code."""
    outcome = conducted.outcome
    account = _account(conducted, spent)
    (folder / "account.json").write_text(json.dumps(account, indent=1, default=str), encoding="utf-8")
    if outcome.tree is not None:
        for file in filter(None, (folder / "design.json", out)):
            file.write_text(json.dumps(outcome.tree.to_json(), indent=1), encoding="utf-8")
    if as_json:
        said = {key: value for key, value in account.items() if key != "log"}
        print_json(said | {"folder": str(folder), "check": report})
    else:
        _print_end(console, outcome, report, spent, out or folder / "design.json")
    if report is None:
        return _EXIT_NONE if spent.run.n_answered and outcome.cause != "stale" else _EXIT_COULD_NOT
    return _EXIT_SANE if report["verdict"] == "sane" else _EXIT_NONE


async def _checked(assignment: Assignment, tree: UnitTree, cage: Any, verdicts: Any) -> dict[str, Any]:
    """The report of every stage, the costly one included."""
    from genesys.checker import STAGES, check_request, is_sane
    from genesys.errors import JobFailed
    from genesys.verification.checking import check_design

    request = check_request(tree, assignment.scales, assignment.vocab_size, stages=STAGES)
    try:
        report = await check_design(tree, request, cage, deadline_s=_DEADLINE_S, verdicts=verdicts)
    except JobFailed as failure:
        return {"verdict": "unchecked", "findings": [], "error": str(failure)}
    return {"verdict": "sane" if is_sane(report) else "rejected", **report}


def _account(conducted: Conducted[SessionOutcome], spent: Totals) -> dict[str, Any]:
    outcome = conducted.outcome
    return {
        "design": outcome.tree.design_id if outcome.tree else None,
        **{name: getattr(outcome, name) for name in ("title", "abstract", "cause", "reason", "duplicate_of", "target")},
        "scores": dict(outcome.scores), "attempts": [asdict(attempt) for attempt in outcome.attempts],
        "models": dict(conducted.models), "cost_usd": spent.run.usd, "n_calls": spent.run.n_calls,
        "log": [dict(entry) for entry in outcome.log],
    }  # fmt: skip


def _print_end(console: Any, outcome: SessionOutcome, report: dict[str, Any] | None, spent: Totals, file: Path) -> None:
    lines = []
    if outcome.tree is None:
        more = " With --resume and a higher --cap-usd it goes on." if outcome.cause == "money" else ""
        lines.append(f"No design: {outcome.cause}. {outcome.reason}{more}")
    else:
        lines += [f"Design: {outcome.title}", *tree_lines(outcome.tree)]
    if outcome.scores:
        lines.append("Scores: " + ", ".join(f"{name} {value:.2f}" for name, value in sorted(outcome.scores.items())))
    if report is not None:
        errors = [f"[{f['rule']}] {f['measured']}" for f in report["findings"] if f["severity"] == "error"]
        lines.append("Checked by every stage: " + "; ".join([report["verdict"], *errors]))
        lines.append(f"In {file}; see genesys check {file}")
    roles = ", ".join(f"{role} {part.usd:.4f}" for role, part in spent.roles.items() if part.booked_nano)
    unsure = f", {spent.run.unsure_nano / 1e9:.4f} of them unsure" if spent.run.unsure_nano else ""
    lines.append(
        f"Cost: {spent.run.usd:.4f} USD{unsure} in {counted(spent.run.n_calls, 'call')}"
        + (f": {roles}" if roles else "")
    )
    for line in lines:
        _say(console, line)


def _say(console: Any, line: str) -> None:
    """Print a line as it is; where no terminal wraps it, it stays one."""
    console.print(printable(line), markup=False, highlight=False, soft_wrap=not console.is_terminal)


def tree_lines(tree: UnitTree) -> list[str]:
    """A tree, a place on a line, open slots included."""
    places = {path: subtree.unit.name for path, subtree in tree.walk()} | dict.fromkeys(tree.open_slots(), "(open)")
    return [
        f"  {'  ' * (path.count('.') + bool(path))}{path.rpartition('.')[2] or 'block'}: {name}"
        for path, name in sorted(places.items())
    ]


class _Display:
    """Shows what a session tells: with a line that says what is waited for on a terminal, as plain lines elsewhere."""

    def __init__(self, console: Any) -> None:
        self._console = console
        self._status = console.status("Waiting for the first answer") if console.is_terminal else None
        self._tree = ""

    def __enter__(self) -> _Display:
        if self._status is not None:
            self._status.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._status is not None:
            self._status.stop()

    def show(self, told: Tell) -> None:
        from rich.text import Text

        text = " ".join(map(printable, told.text.splitlines()))
        plain = not self._console.is_terminal
        self._console.print(Text.assemble((f"{told.stage:9}", "bold"), text), highlight=False, soft_wrap=plain)
        if told.tree is not None and told.stage != "end" and told.tree.design_id != self._tree:
            self._tree = told.tree.design_id
            for line in tree_lines(told.tree):
                self._console.print(Text(printable(line), style="dim"), highlight=False)
        if self._status is not None:
            self._status.update(f"After {told.stage}")
