"""`genesys agents RUN`: what language models cost in a run, what they did for it, and what their judgement is worth."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from genesys.cli._output import AsJson, Folded, counted, fitted_table, make_console, print_json, print_notes

if TYPE_CHECKING:
    from genesys.api import Run
    from genesys.evolution.tree import EvolutionTree
    from genesys.llm.settings import AgentsConfig

N_SHOWN = 12  # sessions, the latest


def command(
    run: Annotated[str, typer.Argument(help="A run's folder, or its name under runs/.")],
    scale: Annotated[str | None, typer.Option(help="At which fitness is read for calibration; the lowest by default.")] = None,
    as_json: AsJson = False,
) -> None:  # fmt: skip
    """Show what language models did: spending, sessions, attempts, earnings, calibration, lessons."""
    from genesys.api import open_run
    from genesys.errors import ConfigError, suggest

    opened = open_run(run)
    scales = opened.tree.scales
    if scale is not None and scale not in scales:
        raise ConfigError(f"Cannot find scale {scale!r}; this run has {', '.join(scales)}.{suggest(scale, scales)}")
    found = agents_report(opened, scale)
    if as_json:
        print_json(found)
        return
    console = make_console()
    for title, names, columns in _tables(found):
        console.print(fitted_table(title, columns, names=names), "")
    print_notes(console, _notes(found))


def agents_report(run: Run, scale: str | None = None) -> dict[str, Any]:
    """All of it as plain data."""
    from genesys.evolution.arms import arms
    from genesys.evolution.calibration import calibrate

    tree, agents = run.tree, _agents(run)
    return {
        "run": run.name,
        "cap_usd": agents.caps.run,
        "spent": _spent(run),
        "sessions": _sessions(tree),
        "out_of_money": tree.out_of_money,
        "attempts": _attempts(run),
        "arms": [asdict(arm) | {"gain_per_usd": arm.gain_per_usd} for arm in arms(tree)],
        "calibration": asdict(calibrate(tree, agents.limits.proposal_bar, scale)),
        "lessons": [
            {"session": lessons.session, "n_designs": lessons.n_designs, "text": lessons.text}
            for lessons in tree.lessons
        ],
    }


def _agents(run: Run) -> AgentsConfig:
    """What the run goes by now: who takes it up again may have raised a cap."""
    from genesys.config import config_from_mapping
    from genesys.config.layering import read_layered
    from genesys.errors import ConfigError

    try:
        return config_from_mapping(read_layered(run.store.config_path)).agents
    except ConfigError:  # it is not there, or of another version
        return run.config.agents


def _spent(run: Run) -> dict[str, Any]:
    """The books of calls, summed; {} for a run without any."""
    from genesys.llm.book import CallBook
    from genesys.llm.calls import CALLS_FILE

    path = run.store.root / CALLS_FILE
    if not path.exists():
        return {}
    with closing(CallBook(path, mode="reader")) as book:
        found = asdict(book.totals())
    for group in (*[spent for key, by in found.items() if key != "run" for spent in by.values()], found["run"]):
        group["usd"], group["unsure_usd"] = group.pop("booked_nano") / 1e9, group.pop("unsure_nano") / 1e9
    return found


def _sessions(tree: EvolutionTree) -> list[dict[str, Any]]:
    """Every session, by number."""
    from genesys.evolution.events import LESSONS

    made = [
        {
            "session": record.session, "outcome": record.state.value, "operator": record.operator, "title": record.title,
            "design": record.id, "usd": record.cost_usd, "cause": "", "reason": "", "scores": dict(record.scores),
        }
        for record in map(tree.record, tree.authored)
    ]  # fmt: skip
    failed = [
        {
            "session": event.session, "outcome": "no design", "operator": event.operator, "title": event.title,
            "design": "", "usd": event.cost_usd, "cause": event.cause, "reason": event.reason,
            "scores": dict(event.scores),
        }
        for event in tree.failed_sessions
    ]  # fmt: skip
    written = [
        {"session": e.session, "outcome": "lessons", "operator": LESSONS, "title": "", "design": "", "usd": e.cost_usd}
        for e in tree.lessons
    ]
    going = [
        {"session": e.session, "outcome": "open", "operator": e.operator, "title": "", "design": "", "usd": None}
        for e in tree.open_sessions.values()
    ]
    return sorted([*made, *failed, *written, *going], key=lambda row: (len(str(row["session"])), row["session"]))


def _attempts(run: Run) -> dict[str, dict[str, int]]:
    """By role, how often it was asked and how often its answer was of use, over all sessions that ended."""
    asked, useful = Counter[str](), Counter[str]()
    tree = run.tree
    accounts = [
        *(tree.record(design).account for design in tree.authored),
        *(event.account for event in tree.failed_sessions),
        *(lessons.account for lessons in tree.lessons),
    ]
    with closing(run.store.journal(mode="reader")) as journal:
        for account in (json.loads(journal.blob(name)) for name in accounts if name):
            for attempt in account["attempts"]:
                asked[attempt["role"]] += attempt["n_asked"]
                useful[attempt["role"]] += attempt["n_useful"]
    return {role: {"n_asked": n, "n_useful": useful[role]} for role, n in sorted(asked.items())}


Table = tuple[str, tuple[str, ...], dict[str, list[Any]]]


def _tables(found: Mapping[str, Any]) -> Iterator[Table]:
    """Title, headings of the columns that may break, and cells by heading."""
    for by in ("model", "role"):
        if spent := found["spent"].get(f"{by}s"):
            yield f"Calls by {by}", (by,), _spending(by, spent, found["attempts"])
    if found["arms"]:
        yield "What models earned", ("role", "model"), _earnings(found["arms"])
    if scores := found["calibration"]["scores"]:
        yield f"Scores, against fitness at {found['calibration']['scale']}", ("score",), _calibration(scores)
    if found["sessions"]:
        yield "The latest sessions", ("title", "outcome"), _latest(found["sessions"][-N_SHOWN:])


def _spending(by: str, spent: Mapping[str, Any], attempts: Mapping[str, Any]) -> dict[str, list[Any]]:
    columns: dict[str, list[Any]] = {
        by: [Folded(name) for name in spent],
        "USD": [_usd(s["usd"]) for s in spent.values()],
        "calls": [f"{s['n_calls']:,}" for s in spent.values()],
        "failed": [f"{s['n_failed']:,}" for s in spent.values()],
        "denied": [f"{s['n_denied']:,}" for s in spent.values()],
        "tokens in": [f"{s['n_input']:,}" for s in spent.values()],
        "cached": [f"{s['n_cached'] / s['n_input']:.0%}" if s["n_input"] else "" for s in spent.values()],
        "tokens out": [f"{s['n_output']:,}" for s in spent.values()],
    }
    if by == "role":
        columns["of use"] = [_of_use(attempts.get(role)) for role in spent]
    return columns


def _of_use(attempts: Mapping[str, int] | None) -> str:
    return f"{attempts['n_useful']} of {attempts['n_asked']}" if attempts else ""


def _earnings(arms: Sequence[Mapping[str, Any]]) -> dict[str, list[Any]]:
    return {
        "role": [Folded(arm["role"]) for arm in arms],
        "model": [Folded(arm["model"]) for arm in arms],
        "sessions": [str(arm["n"]) for arm in arms],
        "designs": [str(arm["n_designs"]) for arm in arms],
        "gain": [f"{arm['gain']:+.3f}" for arm in arms],
        "USD": [_usd(arm["usd"]) for arm in arms],
        "gain/USD": ["" if arm["gain_per_usd"] is None else f"{arm['gain_per_usd']:.3g}" for arm in arms],
    }


def _calibration(scores: Sequence[Mapping[str, Any]]) -> dict[str, list[Any]]:
    return {
        "score": [Folded(score["score"]) for score in scores],
        "mean": [f"{score['mean']:.2f}" for score in scores],
        "rank correlation, 95%": [_interval(score["against_fitness"]) for score in scores],
        "designs": [str(score["against_fitness"]["n"]) for score in scores],
        "drift in 100\nsessions, 95%": [_interval(score["inflation"]) for score in scores],
    }


def _latest(sessions: Sequence[Mapping[str, Any]]) -> dict[str, list[Any]]:
    return {
        "session": [s["session"] for s in sessions],
        "operator": [s["operator"] for s in sessions],
        "outcome": [Folded(": ".join(filter(None, (s["outcome"], s.get("cause", ""))))) for s in sessions],
        "USD": ["" if s["usd"] is None else _usd(s["usd"]) for s in sessions],
        "title": [Folded(s["title"]) for s in sessions],
    }


def _notes(found: Mapping[str, Any]) -> Iterator[str]:
    if not found["sessions"]:
        yield "No session of language models was started in this run. designers.kinds says who designs."
        return
    outcomes = Counter(session["outcome"] for session in found["sessions"])
    yield f"{counted(len(found['sessions']), 'session')}: {', '.join(f'{n} {what}' for what, n in outcomes.items())}."
    if spent := found["spent"].get("run"):
        cap = "" if found["cap_usd"] is None else f" of {_usd(found['cap_usd'])}"
        unsure = spent["unsure_usd"]
        told = f", {_usd(unsure)} of it for calls of which nobody knows what they cost" if unsure else ""
        yield f"Spent: {_usd(spent['usd'])}{cap} USD{told}."
    if found["out_of_money"]:
        yield f"No further session starts: {found['out_of_money'].rstrip('.')}. Raise the cap and add --resume to go on."
    if (planted := found["calibration"]["planted"])["n"]:
        yield f"Of {counted(planted['n'], 'planted proposal')} known to be bad, {_interval(planted)} passed the bar."
    if found["lessons"]:
        yield f"Lessons, after {found['lessons'][-1]['n_designs']} designs:"
        yield from found["lessons"][-1]["text"].splitlines()


def _usd(usd: float) -> str:
    return f"{usd:,.2f}" if usd >= 1 or not usd else f"{usd:.3g}"


def _interval(interval: Mapping[str, Any]) -> str:
    if interval["value"] is None:
        return ""
    return f"{interval['value']:+.2f} [{interval['low']:+.2f}, {interval['high']:+.2f}]"
