"""Verifies the table's designs, rung by rung and seed by seed, and appends a row for each as it ends.

    nice -n 5 python -m benchmarks.table.train

First 30 designs of each alphabet on two rungs with two training seeds, every design before the next rung, every rung before
the next seed; then 50 of each on three with three. Goes on where it was interrupted: a row is written at once, and a
training half done is resumed. A design that failed on a rung does not climb.
"""

from __future__ import annotations

import argparse
import asyncio
import shutil
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

from benchmarks._verifications import Case, verify_case
from benchmarks.table.designs import ALPHABETS, DESIGNS, TableDesign, read_designs
from benchmarks.table.rows import TABLE, Row, read_rows, thinned, tree_text, write_rows
from genesys.errors import INFRASTRUCTURE_CAUSES, ConfigError, JobFailed
from genesys.ladder import CPU_SCALES, Scale
from genesys.sandbox import ForkCage
from genesys.train import Shards, prepare_shards
from genesys.verification import VerificationReport, recipe_hash
from genesys.verification.report import loss_curve

SCALES: tuple[Scale, ...] = tuple(replace(scale, probes=("recall",)) for scale in CPU_SCALES)
"""Recall alone of the probes: the three together cost more than a training here."""

STAGES = ((30, 2, 2), (50, 3, 3))
"""Designs of each alphabet, rungs and training seeds, one stage after the other."""

DEADLINE_S = 3600.0
MAX_TRIES = 3
"""Of a case that infrastructure ended."""


def plan(designs: Sequence[TableDesign]) -> list[tuple[TableDesign, int, int]]:
    """Every (design, rung, seed) of the stages, in the order in which they are verified."""
    cases: dict[tuple[str, int, int], tuple[TableDesign, int, int]] = {}
    for n, n_rungs, n_seeds in STAGES:
        chosen = {d.id: d for alphabet in ALPHABETS for d in _of(designs, alphabet)[:n]}
        for seed in range(n_seeds):
            for rung in range(n_rungs):
                for design in chosen.values():
                    cases.setdefault((design.id, rung, seed), (design, rung, seed))
    return list(cases.values())


def _of(designs: Sequence[TableDesign], alphabet: str) -> list[TableDesign]:
    return [design for design in designs if alphabet in design.alphabets]


class Filling:
    """Verifications side by side, each a row of the table as soon as it ends.

    Raises:
        ConfigError: The rows that are there were made otherwise.
    """

    def __init__(
        self, cases: Sequence[tuple[TableDesign, int, int]], shards: Shards, table: Path, work: Path,
        scales: Sequence[Scale] = SCALES,
    ) -> None:  # fmt: skip
        self._shards, self._table, self._work, self._scales = shards, table, work, scales
        self._rows = read_rows(table)
        check_rows(self._rows, shards.hash, scales)
        known = {row.key for row in self._rows}
        self._waiting = [case for case in cases if (case[0].id, case[1], case[2]) not in known]
        self._n_cases = len(cases)
        self._tries: dict[tuple[str, int, int], int] = {}

    async def run(self, n_workers: int) -> None:
        """Verify until nothing waits."""
        await asyncio.gather(*(self._worker() for _ in range(n_workers)))

    async def _worker(self) -> None:
        async with ForkCage() as cage:
            while self._waiting:
                design, rung, seed = self._waiting.pop(0)
                if any(row.design == design.id and row.rung < rung and row.outcome == "failed" for row in self._rows):
                    continue
                case = Case(name=design.name, tree=design.tree, scale=self._scales[rung], seed=seed)
                folder, started = self._work / design.id[:16] / f"{rung}-{seed}", time.monotonic()
                try:
                    report = await verify_case(
                        case, self._shards, folder, cage, probes=self._work / "probes", deadline_s=DEADLINE_S
                    )
                except JobFailed as failure:
                    if failure.cause in INFRASTRUCTURE_CAUSES:
                        self._try_again((design, rung, seed), failure)
                        continue
                    self._keep(_row(design, rung, case, self._shards.hash, failure, time.monotonic() - started))
                else:
                    self._keep(_row(design, rung, case, self._shards.hash, report, report.seconds))
                shutil.rmtree(folder, ignore_errors=True)

    def _try_again(self, case: tuple[TableDesign, int, int], failure: JobFailed) -> None:
        key = (case[0].id, case[1], case[2])
        self._tries[key] = self._tries.get(key, 0) + 1
        print(f"{case[0].name} on rung {case[1]}, seed {case[2]}: {failure}", file=sys.stderr, flush=True)
        if self._tries[key] < MAX_TRIES:
            self._waiting.append(case)

    def _keep(self, row: Row) -> None:
        self._rows.append(row)
        write_rows(self._rows, self._table)
        said = f"{row.metrics['test_bpb']:.4f} bits/byte" if row.metrics else f"failed ({row.cause})"
        print(
            f"{len(self._rows)}/{self._n_cases} {row.name} at {row.scale}, seed {row.seed}: {said}, {row.seconds:.0f} s",
            flush=True,
        )


def check_rows(rows: Sequence[Row], data: str, scales: Sequence[Scale] = SCALES) -> None:
    """Refuse to go on with rows of other data or another recipe.

    Raises:
        ConfigError: There is such a row.
    """
    recipes = [recipe_hash(asdict(scale)) for scale in scales]
    for row in rows:
        if row.data != data or (row.recipe and row.recipe != recipes[row.rung]):
            raise ConfigError(
                f"Cannot go on with the table: its row of {row.name!r} at {row.scale} was made from data "
                f"{row.data[:12]} by recipe {row.recipe[:12]}; expected {data[:12]} and {recipes[row.rung][:12]}. Give "
                f"another --table, or go on with the version and the corpus that made it."
            )


def _row(
    design: TableDesign, rung: int, case: Case, data: str, found: VerificationReport | JobFailed, seconds: float
) -> Row:
    row = Row(
        design=design.id, name=design.name, alphabets=design.alphabets, operator=design.operator,
        detail=design.detail, parents=design.parents, tree=tree_text(design.tree.to_json()), rung=rung,
        scale=case.scale.name, seed=case.seed, outcome="failed", data=data, seconds=seconds,
    )  # fmt: skip
    if isinstance(found, JobFailed):
        return replace(row, cause=found.cause)
    curve = thinned(loss_curve(found.details))
    return replace(
        row, outcome="committed", metrics=dict(found.metrics), n_params=int(found.metrics["n_params"]),
        flops=float(found.cost["flops"]), curve_tokens=tuple(n for n, _ in curve),
        curve_nats=tuple(nats for _, nats in curve), recipe=found.recipe_hash,
        train_seconds=float(found.cost["seconds"]),
    )  # fmt: skip


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--designs", type=Path, default=DESIGNS)
    parser.add_argument("--table", type=Path, default=TABLE)
    parser.add_argument("--work", type=Path, default=Path("runs/table"), help="folder of what is under way")
    parser.add_argument("--corpus", default="python-docs")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--limit", type=int, help="the first so many verifications only")
    arguments = parser.parse_args()
    shards = prepare_shards(arguments.corpus, Path.home() / ".cache" / "genesys")
    cases = plan(read_designs(arguments.designs))[: arguments.limit]
    try:
        asyncio.run(Filling(cases, shards, arguments.table, arguments.work).run(arguments.workers))
    except KeyboardInterrupt:
        print("Interrupted; the same command goes on.", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
