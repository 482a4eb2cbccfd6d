"""Events a second, what a step costs and what memory it takes, at up to a million designs in the books.

    python -m benchmarks.books [--designs 1000000] > books.jsonl
    python -m benchmarks.books --plot books.jsonl docs/scale.svg

For each size a journal is written, opened by replay alone, and gone on with: a step is all that the books do for one more
design, from its proposal to its last verification, and the choice of who is verified next. Goals of CPU time hold as
they are, the one of durable appends is scaled by how fast the machine is at the time. `--plot` draws what a step costs
against the number of designs, and measures nothing.
"""

from __future__ import annotations

import argparse
import gc
import json
import math
import re
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from functools import partial
from itertools import chain, islice
from pathlib import Path
from random import Random
from resource import RUSAGE_SELF, getrusage

from benchmarks._calibration import speed
from benchmarks._long_run import LongRun
from benchmarks._report import Report
from genesys.evolution import EvolutionTree
from genesys.evolution.events import Event
from genesys.evolution.fitness import RelativeFitness
from genesys.evolution.promotion import decide, resolve_promotion
from genesys.evolution.selection import SELECTIONS, resolve_selection
from genesys.storage import SqliteJournal, open_tree

GOAL_APPENDED_PER_S, GOAL_REPLAYED_PER_S, GOAL_SELECTION_MS = 3000.0, 50_000.0, 30.0
MAX_GROWTH = 3.0
"""A step at a million designs may take this much longer than at a thousand: caches miss, and logarithms grow."""
BATCHES = (1, 16, 64)
"""Events an append: one alone, and what waits together in the actor while the last append is on its way to the disk."""
N_STEPS = 300


def main() -> int:
    """Measure, print, and give the exit status."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.books")
    parser.add_argument("--designs", type=int, default=1_000_000)
    parser.add_argument("--plot", nargs=2, type=Path, metavar=("FIGURES", "SVG"))
    arguments = parser.parse_args()
    if arguments.plot:
        figures, picture = arguments.plot
        picture.write_text(_svg(_figures(figures)), encoding="utf-8")
        return 0
    sizes = [n for n in (10**k for k in range(3, 9)) if n < arguments.designs] + [arguments.designs]
    report, machine = Report("books"), min(1.0, speed())
    report.add("speed of the machine", machine, "of the reference")
    with tempfile.TemporaryDirectory(prefix="genesys-books-") as folder:
        _appends(report, Path(folder), machine)
        steps = [_at_size(report, Path(folder) / f"{n}.sqlite", n) for n in sizes]
    growth = steps[-1] / steps[0]
    report.add(f"step at {sizes[-1]:,} designs over one at {sizes[0]:,}", growth, "x", at_most=MAX_GROWTH)
    return report.exit_code


def _appends(report: Report, folder: Path, machine: float) -> None:
    """Durable appends, each batch applied to the tree before it is written, as the actor does it."""
    for batch in BATCHES:
        run = LongRun(2000)
        events = list(islice(chain([run.start()], *(run.life(i) for i in range(2000))), 400 if batch == 1 else 8000))
        tree, journal = EvolutionTree(RelativeFitness()), SqliteJournal(folder / f"append-{batch}.sqlite")
        started = time.perf_counter()
        for i in range(0, len(events), batch):
            for event in events[i : i + batch]:
                tree.apply(event)
            journal.append(events[i : i + batch], expected_seq=i)
        rate = len(events) / (time.perf_counter() - started)
        journal.close()
        goal = GOAL_APPENDED_PER_S * machine if batch == BATCHES[-1] else None
        report.add(f"applied and durable, {batch} an append", rate, "events/s", at_least=goal)


def _at_size(report: Report, path: Path, n: int) -> float:
    """All figures at one number of designs; gives the median seconds of a step."""
    run = LongRun(n + N_STEPS)
    _write(path, chain([run.start()], chain.from_iterable(run.life(i) for i in range(n))))
    gc.collect()
    before, journal = _rss(), SqliteJournal(path, mode="reader")
    started, cpu_started = time.perf_counter(), getrusage(RUSAGE_SELF)
    tree = open_tree(journal, RelativeFitness())
    seconds, cpu = time.perf_counter() - started, getrusage(RUSAGE_SELF)
    kernel_seconds = cpu.ru_stime - cpu_started.ru_stime
    cpu_seconds = cpu.ru_utime - cpu_started.ru_utime + kernel_seconds
    path.unlink()
    goal = GOAL_REPLAYED_PER_S if n >= 10_000 else None
    replayed = f"replay of {tree.n_events:,} events"
    report.add(replayed, tree.n_events / cpu_seconds, "events/s of CPU time", at_least=goal)
    report.add(f"{replayed}, by the clock", tree.n_events / seconds, "events/s")
    report.add(f"{replayed}, in the kernel, for new memory", 1e6 * kernel_seconds / tree.n_events, "us an event")
    gc.collect()
    report.add(f"memory at {n:,} designs", (_rss() - before) / 1e9, "GB")
    lives = (list(run.life(i)) for i in range(n, n + N_STEPS))
    times = _go_on(tree, lives)
    for part in ("books", "decision"):
        report.add(f"{part}: a step at {n:,} designs, median", 1e6 * statistics.median(times[part]), "us")
    steps = [sum(parts) for parts in zip(times["books"][1:], times["decision"][1:], strict=True)]
    report.add(f"step at {n:,} designs, longest", max(steps), "s")
    for name in SELECTIONS:
        first, *later = times[name]
        report.add(f"{name}: first choice at {n:,}", first, "s")
        p95 = 1e3 * statistics.quantiles(later, n=20)[-1]
        report.add(f"{name}: choice at {n:,}, p95", p95, "ms", at_most=GOAL_SELECTION_MS)
    return statistics.median(steps)


def _go_on(tree: EvolutionTree, lives: Iterable[list[Event]]) -> dict[str, list[float]]:
    """Seconds of every built-in selection strategy, of the books and of the decision, once for each new design.

    The first time is apart: orders are sorted when they are first looked at, and strategies build what they keep.
    """
    promotion, rng = resolve_promotion(), Random(0)
    strategies = {name: resolve_selection(name) for name in SELECTIONS}
    times: dict[str, list[float]] = {name: [] for name in (*strategies, "books", "decision")}
    for life in lives:
        for name, strategy in strategies.items():
            times[name].append(_seconds(partial(strategy.select, tree.population(), rng=rng)))
        times["books"].append(_seconds(partial(_live, tree, life)))
        times["decision"].append(_seconds(partial(decide, tree, promotion, rng)))
    return times


def _write(path: Path, events: Iterable[Event]) -> None:
    journal, events = SqliteJournal(path), iter(events)
    while batch := list(islice(events, 10_000)):
        journal.append(batch, expected_seq=journal.last_seq)
    journal.close()


def _live(tree: EvolutionTree, events: Iterable[Event]) -> None:
    for event in events:
        tree.apply(event)


def _seconds(do: Callable[[], object]) -> float:
    """CPU time, so that others on the machine count as little as they can."""
    started = time.process_time()
    do()
    return time.process_time() - started


def _rss() -> int:
    """Resident memory of this process, in bytes."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


def _figures(log: Path) -> dict[str, dict[int, float]]:
    """Seconds by what was timed and the number of designs, from the lines that an earlier run printed."""
    found: dict[str, dict[int, float]] = {}
    for line in log.read_text(encoding="utf-8").splitlines():
        figure = json.loads(line)
        if match := re.fullmatch(r"(\w+): (?:choice|a step) at ([\d,]+).*(p95|median)", figure["metric"]):
            name, n, of = match.groups()
            seconds = figure["value"] * {"us": 1e-6, "ms": 1e-3, "s": 1.0}[figure["unit"]]
            found.setdefault(f"{name}, {of}", {})[int(n.replace(",", ""))] = seconds
    return found


def _svg(figures: dict[str, dict[int, float]]) -> str:
    """What a step costs against the number of designs; both axes logarithmic."""
    values = [v for line in figures.values() for v in line.values()]
    sizes = sorted({n for line in figures.values() for n in line})
    low, high = math.floor(math.log10(min(values))), math.ceil(math.log10(max(values)))

    def x(n: int) -> float:
        return 90 + 420 * math.log10(n / sizes[0]) / math.log10(sizes[-1] / sizes[0])

    def y(seconds: float) -> float:
        return 330 - 300 * (math.log10(seconds) - low) / (high - low)

    parts = [
        '<svg xmlns="http://www.w3.org/2000/svg" width="760" height="390" font-family="sans-serif" font-size="12">',
        '<rect width="760" height="390" fill="white"/>',
        '<text x="300" y="375" text-anchor="middle">designs in the books</text>',
    ]
    for k in range(low, high + 1):
        at = y(10.0**k)
        parts.append(f'<path d="M90 {at:.0f}H510" stroke="#ddd"/>')
        parts.append(f'<text x="82" y="{at + 4:.0f}" text-anchor="end">{_time(k)}</text>')
    parts += [f'<text x="{x(n):.0f}" y="350" text-anchor="middle">{n:,}</text>' for n in sizes]
    for i, (name, line) in enumerate(figures.items()):
        colour = f"hsl({360 * i // len(figures)},65%,42%)"
        points = " ".join(f"{x(n):.0f},{y(seconds):.1f}" for n, seconds in sorted(line.items()))
        parts.append(f'<polyline points="{points}" fill="none" stroke-width="2" stroke="{colour}"/>')
        parts.append(f'<text x="530" y="{40 + 20 * i}" fill="{colour}">{name}</text>')
    return "\n".join([*parts, "</svg>"]) + "\n"


def _time(exponent: int) -> str:
    """A power of ten of a second, in words."""
    unit, of = (("s", 0), ("ms", 3), ("us", 6))[min(2, -min(0, exponent) // 3 + (-min(0, exponent) % 3 > 0))]
    return f"{10 ** (exponent + of):g} {unit}"


if __name__ == "__main__":
    sys.exit(main())
