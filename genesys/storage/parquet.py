"""A run's books as Parquet tables, for DuckDB, pandas and whatever else reads them. docs/storage.md lists the columns."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Any

from genesys.errors import ConfigError
from genesys.evolution import DesignRecord, EvolutionTree
from genesys.evolution.events import (
    DesignImplemented,
    DesignProposed,
    DesignRejected,
    DesignTwinned,
    Event,
    LeaseGranted,
    LeaseRefunded,
    LessonsWritten,
    ProposalFailed,
    SessionStarted,
    VerificationFailed,
    VerificationRecorded,
    event_to_json,
)
from genesys.storage.journal import Journal

Row = dict[str, Any]
Columns = dict[str, str]

_ROW_GROUP = 20_000
_DESIGN = {"design": "text", "name": "text"}
_KEY = {"scale": "text", "seed": "int", "recipe": "text", "lease": "int"}
_USE = {"seconds": "float", "n_tokens": "int", "gpu_seconds": "float"}
_COLUMNS: dict[str, Columns] = {
    "designs": _DESIGN | {
        "proposal": "int", "proposed": "time", "checked": "time", "state": "text", "is_seed": "bool", "operator": "text",
        "edit": "text", "target": "text", "parents": "texts", "reference_designs": "texts", "designer": "text",
        "parts": "texts", "program": "text", "normal_form": "text", "fingerprint": "text", "inherited_from": "text",
        "checker": "text", "detail": "text", "best_scale": "text", "fitness": "float", "fitness_low": "float",
        "fitness_high": "float", "session": "text", "title": "text", "abstract": "text", "account": "text",
        "cost_usd": "float",
    },
    "runs": _DESIGN | _KEY | {"outcome": "text", "granted": "time", "ended": "time", "holder": "text", "attempt": "int"}
    | _USE | {"cause": "text", "reason": "text", "report": "text"},
    "metrics": _DESIGN | _KEY | {"metric": "text", "value": "float"},
    "leases": _DESIGN | _KEY | {
        "attempt": "int", "holder": "text", "reason": "text", "granted": "time", "ended": "time", "outcome": "text",
        "cause": "text", "reserved_tokens": "int", "reserved_gpu_seconds": "float",
    } | _USE,
    "findings": _DESIGN | {
        "rule": "text", "severity": "text", "unit": "text", "path": "text", "line": "int", "measured": "text",
        "required": "text", "hint": "text",
    },
    "sessions": {
        "session": "text", "pool": "text", "operator": "text", "parents": "texts", "started": "time", "ended": "time",
        "designer": "text", "outcome": "text", "cause": "text", "reason": "text", "design": "text", "title": "text",
        "cost_usd": "float", "task": "text", "account": "text",
    },
    "events": {
        "seq": "int", "time": "time", "kind": "text", "design": "text", "scale": "text", "seed": "int", "lease": "int",
        "holder": "text", "designer": "text", "session": "text", "operator": "text", "cause": "text", "reason": "text",
        "event": "text",
    },
}  # fmt: skip


def export_parquet(tree: EvolutionTree, journal: Journal, folder: Path) -> dict[str, int]:
    """Write the seven tables of a run to `NAME.parquet` files; gives the rows of each.

    Args:
        tree: As replayed from the journal; later events are left out.
        folder: Made if need be; tables of an earlier export are replaced, each at once.

    Raises:
        ConfigError: pyarrow is not installed.
        OSError: The folder cannot be written.
    """
    try:
        import pyarrow as pa  # noqa: F401
    except ImportError as error:
        raise ConfigError(
            f"Cannot export to 'parquet': pyarrow is not installed ({error}). "
            f"Install it: pip install 'genesys-evolution[export]'"
        ) from error
    folder.mkdir(parents=True, exist_ok=True)
    books = _Books(tree)
    metrics = sorted({f"metric_{name}" for record in tree for run in record.runs for name in run.metrics})
    steps = sorted({f"step_{name}" for record in tree for name in record.steps})
    odds = sorted({f"odds_{name}" for record in tree for name in record.odds})
    scores = _wide("score", [*(record.scores for record in tree), *(e.scores for e in tree.failed_sessions)])
    made = _wide("model", [record.models for record in tree])
    models = _wide("model", [e.models for e in (*tree, *tree.failed_sessions, *tree.lessons)])
    wide = {"runs": metrics, "designs": steps + odds + scores, "sessions": scores}
    texts = {"designs": made, "sessions": models}
    rows = {  # the events first: reading them notes when things happened
        "events": books.events(journal), "designs": books.designs(), "runs": books.runs(), "metrics": books.metrics(),
        "leases": books.leases(), "findings": books.findings(), "sessions": books.sessions(),
    }  # fmt: skip
    run = tree.run.run if tree.run else ""
    return {
        name: _write(
            folder / f"{name}.parquet",
            run,
            _COLUMNS[name] | dict.fromkeys(wide.get(name, ()), "float") | dict.fromkeys(texts.get(name, ()), "text"),
            found,
        )
        for name, found in rows.items()
    }


def _wide(what: str, named: Iterable[Mapping[str, Any]]) -> list[str]:
    """A column for each name."""
    return sorted({_column(what, name) for values in named for name in values})


@dataclass(slots=True)
class _SessionLife:
    started: SessionStarted
    at: datetime
    ended: datetime | None = None
    end: DesignProposed | ProposalFailed | LessonsWritten | None = None


@dataclass(slots=True)
class _LeaseLife:
    granted: LeaseGranted
    at: datetime
    ended: datetime | None = None
    end: Event | None = None


class _Books:
    """The rows of each table."""

    def __init__(self, tree: EvolutionTree) -> None:
        self._tree = tree
        self._leases: dict[int, _LeaseLife] = {}
        self._proposed: dict[str, datetime] = {}
        self._checked: dict[str, datetime] = {}
        self._sessions: dict[str, _SessionLife] = {}

    def events(self, journal: Journal) -> Iterator[Row]:
        for entry in islice(journal.read(), self._tree.n_events):
            at = datetime.fromtimestamp(entry.time, UTC)
            self._note(entry.event, at)
            data = event_to_json(entry.event)
            text = json.dumps(data, separators=(",", ":"))
            life = self._leases.get(data.get("lease", 0))
            of_lease = {"design": life.granted.design, "scale": life.granted.scale} if life else {}
            yield {**of_lease, **data, "seq": entry.seq, "time": at, "event": text}

    def _note(self, event: Event, at: datetime) -> None:
        if isinstance(event, DesignProposed | ProposalFailed | LessonsWritten) and event.session:
            self._sessions[event.session].ended, self._sessions[event.session].end = at, event
        match event:
            case SessionStarted():
                self._sessions[event.session] = _SessionLife(event, at)
            case DesignProposed():
                self._proposed[event.design] = at
            case DesignImplemented() | DesignRejected() | DesignTwinned():
                self._checked[event.design] = at
            case LeaseGranted():
                self._leases[event.lease] = _LeaseLife(event, at)
            case LeaseRefunded() | VerificationRecorded() | VerificationFailed():
                self._leases[event.lease].ended, self._leases[event.lease].end = at, event

    def designs(self) -> Iterator[Row]:
        for record in self._tree:
            row = _of(record, _COLUMNS["designs"]) | {
                "design": record.id, "proposal": record.order, "state": record.state.value,
                "reference_designs": record.references, "proposed": self._proposed.get(record.id),
                "checked": self._checked.get(record.id),
            }  # fmt: skip
            fitnesses = self._tree.ratings.fitness(record.inherited_from or record.id)
            for scale, fitness in fitnesses.items():  # the highest is the last
                row |= {"best_scale": scale, "fitness": fitness.value}
                row |= {"fitness_low": fitness.low, "fitness_high": fitness.high}
            row |= {f"step_{name}": value for name, value in record.steps.items()} | _told(record)
            yield row | {f"odds_{name}": value for name, value in record.odds.items()}

    def sessions(self) -> Iterator[Row]:
        outcomes = {DesignProposed: "design", ProposalFailed: "failed", LessonsWritten: "lessons", type(None): None}
        for life in self._sessions.values():
            end = life.end
            told = {} if end is None else _of(end, _COLUMNS["sessions"]) | _told(end)
            times = {"started": life.at, "ended": life.ended, "outcome": outcomes[type(end)]}
            yield _of(life.started, _COLUMNS["sessions"]) | told | times

    def runs(self) -> Iterator[Row]:
        for record in self._tree:
            for run in record.runs:
                life = self._leases[run.lease]
                yield {
                    **_of(run, _COLUMNS["runs"]), "design": record.id, "name": record.name, "granted": life.at,
                    "ended": life.ended, "holder": life.granted.holder, "attempt": life.granted.attempt,
                    **{f"metric_{name}": value for name, value in run.metrics.items()},
                }  # fmt: skip

    def metrics(self) -> Iterator[Row]:
        for record in self._tree:
            for run in record.runs:
                key = {**_of(run, _KEY), "design": record.id, "name": record.name}
                yield from ({**key, "metric": name, "value": value} for name, value in run.metrics.items())

    def leases(self) -> Iterator[Row]:
        outcomes = {run.lease: run.outcome for record in self._tree for run in record.runs}
        for lease, life in self._leases.items():
            granted, end = life.granted, life.end
            yield {
                **_of(granted, _KEY | {"attempt": "", "holder": "", "reason": ""}),
                "design": granted.design,
                "name": self._tree.record(granted.design).name,
                "granted": life.at,
                "ended": life.ended,
                "outcome": outcomes.get(lease, "refunded") if end is not None else None,
                "cause": getattr(end, "cause", None),
                "reserved_tokens": granted.n_tokens,
                "reserved_gpu_seconds": granted.gpu_seconds,
                **{name: getattr(end, name, None) for name in _USE},
            }

    def findings(self) -> Iterator[Row]:
        for record in self._tree:
            yield from ({**finding, "design": record.id, "name": record.name} for finding in record.findings)


def _told(value: DesignRecord | DesignProposed | ProposalFailed | LessonsWritten) -> Row:
    """What reviewers gave, and who played which role."""
    scores = {_column("score", name): score for name, score in getattr(value, "scores", {}).items()}
    return scores | {_column("model", role): model for role, model in value.models.items()}


def _column(what: str, name: str) -> str:
    """A name that SQL takes without quotes: `score_reviewer_rating`."""
    return f"{what}_{name.replace('.', '_')}"


def _of(value: DesignRecord | Any, columns: Mapping[str, str]) -> Row:
    """The fields of a value that are columns."""
    return {name: getattr(value, name) for name in columns if hasattr(value, name)}


def _write(path: Path, run: str, columns: Columns, rows: Iterable[Row]) -> int:
    """One table; "" is null in it, as is what a row lacks."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    types = {
        "text": pa.string(), "texts": pa.list_(pa.string()), "int": pa.int64(), "float": pa.float64(),
        "bool": pa.bool_(), "time": pa.timestamp("us", tz="UTC"),
    }  # fmt: skip
    schema = pa.schema([("run", pa.string()), *((name, types[kind]) for name, kind in columns.items())])
    n, rest, part = 0, iter(rows), path.with_suffix(".part")
    with pq.ParquetWriter(part, schema, compression="zstd") as writer:
        while batch := list(islice(rest, _ROW_GROUP)):
            kept = [{"run": run} | {name: _or_null(row.get(name)) for name in columns} for row in batch]
            writer.write_table(pa.Table.from_pylist(kept, schema))
            n += len(batch)
    part.replace(path)
    return n


def _or_null(value: Any) -> Any:
    return None if value == "" else value
