"""What is said when a run has ended, and of one in which nothing was rated."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console
from typer.testing import CliRunner

from genesys.api import Run
from genesys.cli import app
from genesys.cli._ending import failure_notes
from genesys.cli.evolve import _conclude
from genesys.cli.runs import _entry
from genesys.evolution.events import (
    DesignImplemented,
    Event,
    LeaseGranted,
    PolicyFailed,
    ProposalFailed,
    RunDraining,
    RunFinished,
    SessionStarted,
    VerificationFailed,
)
from genesys.evolution.fitness import PaperFitness
from genesys.storage import RunStore
from genesys.testing import add_design, start_tree, verify
from genesys.testing.books import apply


def write_run(folder: Path, events: Sequence[Event]) -> Run:
    store = RunStore(folder / "demo-1")
    store.root.mkdir(parents=True)
    journal = store.journal()
    journal.append(list(events), expected_seq=0, blobs=[])
    journal.close()
    return Run(store.root)


def run_with(
    folder: Path,
    *more: Event,
    reference: str = "",
    caps: dict[str, float] | None = None,
    quotas: tuple[int, ...] = (4, 1),
) -> Run:
    """Two rated designs, and what happened then."""
    events: list[Event] = []
    tree = start_tree(quotas=quotas, reference=reference, caps=caps, events=events)
    for name, quality in (("a", 0.3), ("b", 0.6)):
        add_design(tree, name, is_seed=name == "a", events=events)
        verify(tree, name, "small", quality, events=events)
    for event in more:
        apply(tree, event, events)
    sized = {"small": {"n_params": 1000}}
    return write_run(folder, [replace(e, sizes=sized) if isinstance(e, DesignImplemented) else e for e in events])


def concluded(run: Run, *, as_json: bool = False) -> str:
    console = Console(file=io.StringIO(), width=100)
    _conclude(run, console, "genesys evolve budget.yaml --resume", "budget.yaml", as_json=as_json)
    return " ".join(console.file.getvalue().split())  # type: ignore[attr-defined]


def board(run: Run) -> str:
    done = CliRunner().invoke(app, ["leaderboard", str(run.store.root)], env={"COLUMNS": "160"})
    assert done.exit_code == 0, done.output
    return " ".join(done.output.split())


def test_the_reasons_for_which_strategies_failed_are_said_once_each(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    boom = PolicyFailed(policy="selection", strategy="Boom", reason="KeyError: 'oops'")
    other = PolicyFailed(policy="promotion", strategy="Slow", reason="TimeoutError: [red]no[/red]\nanswer")
    run = run_with(tmp_path, boom, other, boom, boom, boom)
    said = "Selection strategy Boom failed 4 times (KeyError: 'oops'); a choice by lot stood in."
    assert list(failure_notes(run)) == [
        said, "Promotion strategy Slow failed once (TimeoutError: [red]no[/red]\nanswer); a choice by lot stood in.",
    ]  # fmt: skip
    assert said in concluded(run) and said in board(run) and r"[red]no[/red]\nanswer" in concluded(run)
    assert said in concluded(run, as_json=True) and '"fitness"' in capsys.readouterr().out


def test_no_more_than_five_reasons_are_listed(tmp_path: Path) -> None:
    many = [PolicyFailed(policy="selection", strategy="Boom", reason=f"KeyError: {i}") for i in range(7)]
    *first, last = failure_notes(run_with(tmp_path, *many))
    assert len(first) == 5 and last == "Strategies failed for 2 more reasons; the journal has all."


def test_fitness_names_the_reference_or_says_that_there_is_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_one, without = run_with(tmp_path / "1", reference="a"), run_with(tmp_path / "2")
    assert "Fitness: 0 is name of a, the reference, at that scale" in concluded(with_one)
    assert "No difference from the reference name of a is settled" in board(with_one)
    for text in (concluded(without), board(without)):
        assert "Fitness: gain over the unigram model" in text and "no reference." in text
        assert "difference from" not in text and "GPT" not in text
    monkeypatch.setattr(with_one.tree, "rule", PaperFitness())
    assert "Fitness: the mean accuracy" in concluded(with_one)


def test_an_end_by_a_cap_or_a_stop_says_how_to_go_on(tmp_path: Path) -> None:
    reason = "the cap of 2 runs leaves no room for a run at small"
    capped = run_with(tmp_path / "1", RunFinished(reason=reason), caps={"runs": 2})
    assert "The run has ended: the cap of 2 runs leaves no room for a run at small. More:" in concluded(capped)
    assert concluded(capped).endswith(
        "Raise budget.runs in budget.yaml and go on with: genesys evolve budget.yaml --resume"
    )
    stopped = run_with(tmp_path / "2", RunDraining(reason="asked to stop"), RunFinished(reason="asked to stop"))
    assert concluded(stopped).endswith("Go on with: genesys evolve budget.yaml --resume")
    spent = run_with(tmp_path / "3", RunFinished(reason="every quota is spent"))
    assert "--resume" not in concluded(spent)


def test_an_end_for_want_of_money_for_language_models_names_their_caps(tmp_path: Path) -> None:
    session = SessionStarted(session="session-1", designer="D-1", pool="llm", operator="mutation", parents=(), task="t")
    reason = "the run's cap of 5.00 USD leaves no room"
    poor = ProposalFailed(designer="D-1", operator="mutation", session="session-1", cause="money", reason=f"{reason}.")
    end = RunFinished(reason="no design is left that could spend a quota")
    spent = run_with(tmp_path / "1", session, poor, end)
    told = f"The money of its language models is spent: {reason}. Raise what is reached in agents.caps"
    assert told in concluded(spent)
    assert "agents.caps" not in concluded(run_with(tmp_path / "2", session, poor)), "rules may go on"
    assert "agents.caps" not in concluded(run_with(tmp_path / "3", session, replace(poor, cause="refused"), end))
    full = run_with(tmp_path / "4", session, poor, end, quotas=(2, 1))
    assert "agents.caps" not in concluded(full), "no design is missing"


def test_a_run_without_a_rated_design_gives_the_reason_first_and_no_table(tmp_path: Path) -> None:
    events: list[Event] = []
    tree = start_tree(quotas=(1,), events=events)
    add_design(tree, "a", events=events)
    apply(tree, LeaseGranted(lease=1, design="a", scale="small", holder="V-1"), events)
    apply(tree, VerificationFailed(lease=1, design="a", scale="small", cause="diverged"), events)
    going = write_run(tmp_path / "going", events)
    assert board(going) == "No design is rated yet; designs: 1 failed. More: genesys tree demo-1"
    apply(tree, RunFinished(reason="no design is left that could spend a quota"), events)
    ended = write_run(tmp_path / "ended", events)
    for text in (concluded(ended), board(ended)):
        assert text == (
            "The run has ended: no design is left that could spend a quota. No design is rated; designs: 1 failed. "
            "More: genesys tree demo-1"
        )


def test_a_descriptor_that_no_design_has_is_named(tmp_path: Path) -> None:
    run = run_with(tmp_path)
    assert "made no difference" not in concluded(run) and run.tree.run is not None
    options = {"descriptors": {"flops": [], "probe_recall": [0.5]}}
    run.tree.run.config["selection"] = {"name": "map_elites", "options": options}  # type: ignore[index]
    assert "Descriptor 'flops' made no difference to map_elites: no rated design has that metric." in concluded(run)


def test_runs_counts_failures_beside_what_was_verified(tmp_path: Path) -> None:
    events: list[Event] = []
    tree = start_tree(quotas=(4,), events=events)
    for i, name in enumerate("ab"):
        add_design(tree, name, events=events)
        if i == 0:
            verify(tree, name, "small", 0.5, events=events)
    apply(tree, LeaseGranted(lease=2, design="b", scale="small", holder="V-1"), events)
    apply(tree, VerificationFailed(lease=2, design="b", scale="small", cause="diverged"), events)
    run = write_run(tmp_path, events)
    assert _entry(run.store.root)["failed"] == {"small": 1}
    shown = CliRunner().invoke(app, ["runs", str(tmp_path)]).output
    assert "demo-1: 2 designs, verified 1 at small (1 failed);" in shown


def test_doctor_keeps_to_the_width(monkeypatch: pytest.MonkeyPatch) -> None:
    done = CliRunner().invoke(app, ["doctor"], env={"COLUMNS": "80"})
    assert done.exit_code == 0 and "Strategies for selection: adaptive" in done.output
    assert all(len(line) <= 80 for line in done.output.splitlines())
