"""`genesys export RUN --to parquet`, read back by pyarrow, DuckDB and pandas."""

from __future__ import annotations

import json
import re
import sys
from collections import Counter
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from genesys.api import Run
from genesys.cli import app
from genesys.evolution.events import (
    DesignProposed,
    DesignRejected,
    Event,
    LeaseGranted,
    LessonsWritten,
    ProposalFailed,
    SessionStarted,
    event_from_json,
)
from genesys.evolution.promotion import resolve_promotion
from genesys.storage import RunStore, SqliteJournal
from genesys.testing import add_design, climb, start_tree
from genesys.testing.books import apply

FINDING = {
    "rule": "causality", "severity": "error", "unit": "Leaky", "path": "mixer", "line": 7, "measured": "leaks",
    "required": "0", "hint": "mask",
}  # fmt: skip


TABLES = ("designs", "runs", "metrics", "leases", "findings", "sessions", "events")


def some_life() -> list[Event]:
    """A run with commits, failures, refunds and poison, a rejected design, and a lease that is still out."""
    events: list[Event] = []
    tree = start_tree(quotas=(30, 6, 2), reference="design-0", events=events)
    proposed = DesignProposed(
        design="leaky", name="leaky", program="p", operator="mutation", parts=("A", "B"), odds={"mutation": 0.75}, steps={"tree": 2.0},
    )  # fmt: skip
    apply(tree, proposed, events)
    apply(tree, DesignRejected(design="leaky", findings=(FINDING, FINDING | {"line": None, "path": ""})), events)
    climb(
        tree, resolve_promotion("successive_halving"), n_designs=20, rng=Random(3), p_refund=0.3, p_fail=0.1, events=events,
    )  # fmt: skip
    add_design(tree, "last", events=events)
    told: dict[str, Any] = {
        "cost_usd": 0.5,
        "scores": {"reviewer.rating": 4.5},
        "models": {"coder": "openai/a"},
        "title": "Gates",
    }
    for k, operator in enumerate(("mutation", "scratch", "lessons", "scratch")):
        started = SessionStarted(session=f"session-{k}", designer="d", pool="llm", operator=operator, task="t")
        apply(tree, started, events)
    made = DesignProposed(design="gated", name="g", program="p", operator="mutation", session="session-0", **told)
    failed = ProposalFailed(
        designer="d", operator="scratch", reason="weak", cause="proposal", session="session-1", **told
    )
    apply(tree, made, events)
    apply(tree, failed, events)
    apply(tree, LessonsWritten(session="session-2", text="- Gates.", n_designs=3, models={"scribe": "s"}), events)
    apply(tree, LeaseGranted(lease=tree.last_lease + 1, design="last", scale="small", holder="v", n_tokens=9), events)
    return events


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run's folder."""
    folder = tmp_path_factory.mktemp("runs") / "demo-1"
    with closing(SqliteJournal(RunStore(folder).journal_path, clock=lambda: 1_700_000_000.25)) as journal:
        journal.append(some_life(), expected_seq=0)
    return folder


@pytest.fixture(scope="module")
def tables(folder: Path) -> Path:
    """The exported tables of that run."""
    place = folder.parent / "tables"
    done = export(folder, "--out", str(place), "--json")
    assert done.exit_code == 0, done.output
    assert set(json.loads(done.output)["tables"]) == set(TABLES)
    return place


def export(folder: Path, *arguments: str) -> Result:
    return CliRunner().invoke(app, ["export", str(folder), "--to", "parquet", *arguments])


def rows(tables: Path, name: str) -> list[dict[str, Any]]:
    import pyarrow.parquet as pq

    return list(pq.read_table(tables / f"{name}.parquet").to_pylist())


def test_pyarrow_finds_each_design_as_the_books_have_it(folder: Path, tables: Path) -> None:
    tree, found = Run(folder).tree, rows(tables, "designs")
    assert [row["design"] for row in found] == [record.id for record in tree]
    for row in found:
        record = tree.record(row["design"])
        assert (row["run"], row["state"], row["parents"]) == ("test", record.state.value, list(record.parents))
        fitness = tuple(tree.ratings.fitness(record.id).items())
        assert (row["best_scale"], row["fitness"]) == (
            (fitness[-1][0], fitness[-1][1].value) if fitness else (None,) * 2
        )
    leaky = found[0]
    assert (leaky["name"], leaky["state"], leaky["odds_mutation"], leaky["step_tree"]) == (
        "leaky",
        "rejected",
        0.75,
        2.0,
    )
    assert leaky["parts"] == ["A", "B"] and leaky["fingerprint"] is leaky["fitness"] is found[1]["step_tree"] is None
    assert leaky["proposed"] == leaky["checked"] == datetime.fromtimestamp(1_700_000_000.25, UTC)


def test_sessions_are_there_with_their_ends(tables: Path) -> None:
    found = rows(tables, "sessions")
    assert [(row["session"], row["outcome"], row["design"], row["cause"]) for row in found] == [
        ("session-0", "design", "gated", None),
        ("session-1", "failed", None, "proposal"),
        ("session-2", "lessons", None, None),
        ("session-3", None, None, None),
    ]
    assert (found[0]["score_reviewer_rating"], found[1]["model_coder"], found[1]["cost_usd"]) == (4.5, "openai/a", 0.5)
    assert found[2]["model_scribe"] == "s" and found[3]["ended"] is None
    (gated,) = [row for row in rows(tables, "designs") if row["session"]]
    assert (gated["title"], gated["model_coder"], gated["score_reviewer_rating"]) == ("Gates", "openai/a", 4.5)


def test_runs_are_wide_and_metrics_long(folder: Path, tables: Path) -> None:
    tree, found = Run(folder).tree, rows(tables, "runs")
    assert Counter(row["outcome"] for row in found) == Counter(run.outcome for r in tree for run in r.runs)
    wide = {(row["lease"], name): value for row in found for name, value in row.items() if value is not None}
    long = rows(tables, "metrics")
    assert long and all(wide[row["lease"], f"metric_{row['metric']}"] == row["value"] for row in long)
    assert len(long) == sum(name.startswith("metric_") for _, name in wide)


def test_every_lease_is_there_once_with_its_end(folder: Path, tables: Path) -> None:
    tree, found = Run(folder).tree, rows(tables, "leases")
    assert [row["lease"] for row in found] == list(range(1, tree.last_lease + 1))
    ends = Counter(row["outcome"] for row in found)
    assert ends[None] == len(tree.leases) == 1 and ends["refunded"] > 0
    ended = Counter(run.outcome for record in tree for run in record.runs)
    assert all(ends[outcome] == ended[outcome] for outcome in ("committed", "failed", "poison"))
    out = found[-1]
    assert (out["ended"], out["reserved_tokens"], out["n_tokens"]) == (None, 9, None)


def test_the_events_table_is_the_journal(folder: Path, tables: Path) -> None:
    journal = [entry.event for entry in RunStore(folder).journal(mode="reader").read()]
    found = rows(tables, "events")
    assert [event_from_json(json.loads(row["event"])) for row in found] == journal
    assert [row["seq"] for row in found] == list(range(1, len(journal) + 1))
    assert all(row["design"] and row["scale"] for row in found if row["lease"]), "also of a refund, which names neither"


def test_findings_keep_what_the_checker_said(tables: Path) -> None:
    first, second = rows(tables, "findings")
    assert {name: first[name] for name in FINDING} == FINDING
    assert (second["name"], second["line"], second["path"]) == ("leaky", None, None)


def test_duckdb_answers_without_quoting_a_column(folder: Path, tables: Path) -> None:
    duckdb = pytest.importorskip("duckdb")
    import pyarrow.parquet as pq

    with duckdb.connect() as db:
        for path in sorted(tables.glob("*.parquet")):
            columns = pq.read_schema(path).names
            assert db.execute(f"SELECT {', '.join(columns)} FROM '{path}'").fetchall()
        ((best,),) = db.execute(
            f"SELECT d.name FROM '{tables}/designs.parquet' d JOIN '{tables}/runs.parquet' r USING (design) "
            f"WHERE r.scale = 'large' AND r.metric_probe_recall > 0 ORDER BY d.fitness DESC LIMIT 1"
        ).fetchall()
        assert best == Run(folder).leaderboard()[0]["name"]
        ((kind,),) = db.execute(f"SELECT DISTINCT typeof(granted) FROM '{tables}/leases.parquet'").fetchall()
        assert kind == "TIMESTAMP WITH TIME ZONE"


def test_pandas_has_the_right_types(tables: Path) -> None:
    pandas = pytest.importorskip("pandas")
    leases = pandas.read_parquet(tables / "leases.parquet")
    assert str(leases["granted"].dtype) == "datetime64[us, UTC]" and str(leases["lease"].dtype) == "int64"
    assert leases["ended"].isna().sum() == 1
    assert pandas.read_parquet(tables / "designs.parquet")["is_seed"].sum() == 2


def test_an_export_takes_the_place_of_an_earlier_one(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for _ in range(2):
        done = export(folder)
        assert done.exit_code == 0 and done.output.startswith("Wrote demo-1-parquet: ") and " 2 findings" in done.output
    assert len(list((tmp_path / "demo-1-parquet").iterdir())) == len(TABLES)


def test_what_an_export_cannot_do(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "it takes the whole run. Leave DESIGN and --scale out" in str(export(folder, "--scale", "small").exception)
    assert "it takes the whole run" in str(
        CliRunner().invoke(app, ["export", str(folder), "gpt", "--to", "parquet"]).exception
    )
    alone = CliRunner().invoke(app, ["export", str(folder)])
    assert "Cannot export run 'demo-1' to 'py': that takes one design" in str(alone.exception)
    (tmp_path / "file").touch()
    assert "expected a folder. Give another --out." in str(export(folder, "--out", str(tmp_path / "file")).exception)
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    assert "pip install 'genesys-evolution[export]'" in str(export(folder, "--out", str(tmp_path / "x")).exception)
    assert not (tmp_path / "x").exists()


def test_the_documented_columns_are_those_written(tables: Path) -> None:
    import pyarrow.parquet as pq

    page = (Path(__file__).parents[2] / "docs" / "storage.md").read_text(encoding="utf-8")
    for path in sorted(tables.glob("*.parquet")):
        (row,) = [line for line in page.splitlines() if line.startswith(f"| `{path.stem}` |")]
        documented = re.findall(r"`([^`]+)`", re.sub(r"\([^)]*\)", "", row.split(" | ", 2)[2]))
        written = [
            re.sub(r"^(metric|step|odds|score|model)_.+", r"\1_NAME", name) for name in pq.read_schema(path).names
        ]
        assert ["run", *documented] == list(dict.fromkeys(written))
