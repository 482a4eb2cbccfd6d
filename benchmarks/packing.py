"""Megabytes of text a second that one process packs, and how long shards take to open.

Beside each rate the same machine's own pace at that moment, SHA-256 over the same text: on a busy machine read the ratio.
Goals: 20 MB/s a core with bytes, shards open in 10 ms.
"""

from __future__ import annotations

import hashlib
import json
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks._report import Report
from genesys.train.data.packing import DataOrder, PackedRows
from genesys.train.data.shards import Shards, load_shards, prepare_shards

N_TURNS, TEXT_BYTES = 5, 16_000_000


def write_text(file: Path) -> int:
    """Documents of about 2 kB, over 20,000 words as common as in prose (Zipf); gives their bytes."""
    rng = random.Random(0)
    words = ["".join(rng.choices("etaoinshrdlu", k=rng.randint(2, 9))) for _ in range(20_000)]
    weights = [1 / rank for rank in range(1, len(words) + 1)]
    n_bytes = 0
    with file.open("w", encoding="utf-8") as out:
        while n_bytes < TEXT_BYTES:
            text = " ".join(rng.choices(words, weights, k=350))
            n_bytes += len(text)
            out.write(json.dumps({"text": text}) + "\n")
    return n_bytes


def timed(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def measure_packing(file: Path, n_bytes: int, tokenizer: str, report: Report, *, goal: float | None) -> None:
    """Pack in turns with a SHA-256 of the text, so that a busy machine hits both."""
    rates, ratios, data = list[float](), list[float](), file.read_bytes()
    for _ in range(N_TURNS):
        with tempfile.TemporaryDirectory() as folder:
            cache, marks = Path(folder), list[float]()
            prepare_shards(
                f"text:{file}",
                cache,
                tokenizer,
                map_parts=map,
                on_progress=lambda now: marks.append(time.perf_counter()),  # noqa: B023
            )
            seconds = marks[1] - marks[0]  # the one part: read, tokenized, dealt, counted, hashed, written
        rates.append(n_bytes / 1e6 / seconds)
        ratios.append(timed(lambda: hashlib.sha256(data)) / seconds)
    report.add(f"{tokenizer} packing", statistics.median(rates), "MB/s a core", at_least=goal)
    report.add(f"{tokenizer} packing ratio", statistics.median(ratios), "packing / SHA-256 of the text")


def measure_reading(shards: Shards, report: Report) -> None:
    opening = [timed(lambda: load_shards(shards.path)) for _ in range(20)]
    report.add("open shards", 1e3 * statistics.median(opening), "ms", at_most=10)
    rows = PackedRows(shards.tokens("train"), 1024)
    order = DataOrder(n_rows=rows.n_rows, batch_rows=128, seed=0)
    rows.rows(order.batch(0))
    reading = [timed(lambda: rows.rows(order.batch(step))) for step in range(1, 40)]  # noqa: B023
    report.add("rows", 128 * 1024 / 1e6 / statistics.median(reading), "million tokens/s")
    large = DataOrder(n_rows=20_000_000, batch_rows=512, seed=0)
    report.add("shuffle 20 million rows", timed(lambda: large.batch(0)), "s")
    report.add("a batch of them", 1e3 * statistics.median(timed(lambda: large.batch(i)) for i in range(1, 40)), "ms")  # noqa: B023


def main() -> int:
    report = Report("packing")
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "text.jsonl"
        n_bytes = write_text(file)
        measure_packing(file, n_bytes, "bytes", report, goal=20)
        measure_packing(file, n_bytes, "bpe:4096", report, goal=None)
        measure_reading(prepare_shards(f"text:{file}", Path(folder) / "cache"), report)
    return report.exit_code


if __name__ == "__main__":
    sys.exit(main())
