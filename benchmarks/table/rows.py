"""The table's rows, one a verification, and their Parquet file."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from genesys.errors import ConfigError

TABLE = Path(__file__).with_name("table.parquet")


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One verification of the table.

    Attributes:
        design: Id; `tree` is `UnitTree.to_json` as text.
        alphabets: Those that the design belongs to.
        operator, detail, parents: How it was made; the parents are designs of the table.
        rung, scale, seed: Where it was verified.
        outcome: "committed", or "failed" by the design's own fault, with its `cause`.
        metrics: As a verification gives them; empty where it failed.
        n_params, flops: Of the model and of its training; 0 where it failed.
        curve_tokens, curve_nats: About 20 points of the training loss: tokens seen, nats per token.
        seconds: Wall clock of the whole verification, on one thread of a machine that did other things too; a probe's
            answer is kept, so that only the first rung of a seed pays for it. `train_seconds` is the training's part.
        recipe, data: Hashes of what the rows of a scale have in common.
    """

    design: str
    name: str
    alphabets: tuple[str, ...]
    operator: str
    detail: str
    parents: tuple[str, ...]
    tree: str
    rung: int
    scale: str
    seed: int
    outcome: str
    cause: str = ""
    metrics: Mapping[str, float] = field(default_factory=dict)
    n_params: int = 0
    flops: float = 0.0
    curve_tokens: tuple[int, ...] = ()
    curve_nats: tuple[float, ...] = ()
    seconds: float = 0.0
    train_seconds: float = 0.0
    recipe: str = ""
    data: str = ""

    @property
    def key(self) -> tuple[str, int, int]:
        return (self.design, self.rung, self.seed)


def read_rows(path: Path = TABLE) -> list[Row]:
    """The rows of a table, as they were appended; none where there is no file.

    Raises:
        ConfigError: pyarrow is not installed.
    """
    if not path.exists():
        return []
    _, parquet = _pyarrow()
    return [
        Row(**{key: tuple(value) if isinstance(value, list) else value for key, value in entry.items()} | _metrics(entry))
        for entry in parquet.read_table(path).to_pylist()
    ]  # fmt: skip


def write_rows(rows: Sequence[Row], path: Path = TABLE) -> None:
    """Write a whole table, by a rename: what is killed leaves the one before."""
    arrow, parquet = _pyarrow()
    entries = [{**asdict(row), "metrics": list(row.metrics.items())} for row in rows]
    temporary = path.with_suffix(".tmp")
    parquet.write_table(arrow.Table.from_pylist(entries, schema=_schema(arrow)), temporary, compression="zstd")
    os.replace(temporary, path)


def thinned(curve: Sequence[tuple[int, float]], n: int = 20) -> list[tuple[int, float]]:
    """At most n points of a curve, evenly among them, the first and the last included."""
    if len(curve) <= n:
        return list(curve)
    return [curve[round(i * (len(curve) - 1) / (n - 1))] for i in range(n)]


def tree_text(tree: Mapping[str, Any]) -> str:
    """A tree's JSON as one text, the same for equal trees."""
    return json.dumps(tree, sort_keys=True, separators=(",", ":"))


def _metrics(entry: Mapping[str, Any]) -> dict[str, Any]:
    return {"metrics": dict(entry["metrics"])}


def _schema(arrow: Any) -> Any:
    kinds = {
        "str": arrow.string(),
        "int": arrow.int64(),
        "float": arrow.float64(),
        "tuple[str, ...]": arrow.list_(arrow.string()),
        "tuple[int, ...]": arrow.list_(arrow.int64()),
        "tuple[float, ...]": arrow.list_(arrow.float64()),
        "Mapping[str, float]": arrow.map_(arrow.string(), arrow.float64()),
    }
    return arrow.schema([(f.name, kinds[str(f.type)]) for f in fields(Row)])


def _pyarrow() -> tuple[Any, Any]:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        raise ConfigError("Cannot read or write a table: pyarrow is missing. Install the extra `export`.") from None
    return pyarrow, pyarrow.parquet
