"""The comparison of strategies on the table as Markdown, with a small plot."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from random import Random
from statistics import fmean

from benchmarks.table.contestants import default_selection
from benchmarks.table.landscape import Landscape, decision_accuracy, smoothness
from benchmarks.table.replay import COSTS, Curve, budget_of, quotas_of
from genesys.evolution.selection import SELECTIONS

BASELINE = "iid"
RANDOM = "random"
N_POINTS = 20
Curves = Mapping[str, Mapping[str, Sequence[Curve]]]
"""By alphabet and contestant, one a seed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """A mean over replays with its 95% bootstrap interval."""

    mean: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.mean:.3f} ({self.low:.3f}, {self.high:.3f})"


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One contestant on one alphabet. Regret is how far the leader's true value stays below the best design's.

    Attributes:
        over_cost: Regret, averaged over the budget.
        final: Simple regret, at the end of the budget.
        gain, over_random: How much lower `over_cost` is than that of independent draws, and than that of parents by lot,
            replay by replay.
        curve: Best so far at each of `N_POINTS` even shares of the budget.
        makespan: Virtual time beside that of the independent draws.
    """

    name: str
    over_cost: Estimate
    final: Estimate
    gain: Estimate
    over_random: Estimate
    curve: tuple[Estimate, ...]
    makespan: float


def estimate(numbers: Sequence[float], *, n_boot: int = 1000, seed: int = 0) -> Estimate:
    """Mean and percentile interval over resamples of the replays."""
    rng = Random(seed)
    means = sorted(fmean(rng.choices(numbers, k=len(numbers))) for _ in range(n_boot))
    return Estimate(mean=fmean(numbers), low=means[int(0.025 * n_boot)], high=means[int(0.975 * n_boot)])


def summarise(land: Landscape, curves: Mapping[str, Sequence[Curve]], cost: str) -> list[Line]:
    """A line for each contestant, the least regret first."""
    budget = budget_of(land, quotas_of(land), COSTS[cost])
    shares = [budget * (k + 1) / N_POINTS for k in range(N_POINTS)]
    values = {name: [[curve.at(share) for share in shares] for curve in found] for name, found in curves.items()}
    areas = {name: [land.best - fmean(run) for run in runs] for name, runs in values.items()}
    time = fmean(curve.makespan for curve in curves[BASELINE])
    lines = [
        Line(
            name=name, over_cost=estimate(areas[name]), final=estimate([land.best - run[-1] for run in runs]),
            gain=_gain(areas[name], areas[BASELINE]), over_random=_gain(areas[name], areas[RANDOM]),
            curve=tuple(estimate([run[k] for run in runs], n_boot=200) for k in range(N_POINTS)),
            makespan=fmean(curve.makespan for curve in curves[name]) / time,
        )
        for name, runs in values.items()
    ]  # fmt: skip
    return sorted(lines, key=lambda line: line.over_cost.mean)


def _gain(own: Sequence[float], other: Sequence[float]) -> Estimate:
    return estimate([b - a for a, b in zip(own, other, strict=True)])


def concordance(first: Sequence[Line], second: Sequence[Line]) -> float:
    """Kendall's tau of two rankings of the same contestants: 1 for the same order, 0 for none."""
    a, b = ({line.name: line.over_cost.mean for line in lines} for lines in (first, second))
    signs = [(a[x] - a[y]) * (b[x] - b[y]) for x, y in combinations(sorted(a), 2)]
    return sum((s > 0) - (s < 0) for s in signs) / len(signs)


def winner(lines: Mapping[str, Sequence[Line]]) -> str:
    """The selection strategy with the least regret over all alphabets, if it beats parents by lot in each of them beyond
    the interval; else `random`."""
    beating = [{line.name for line in found if line.over_random.low > 0} for found in lines.values()]
    able = set.intersection(*beating) & set(SELECTIONS)
    regret = {n: sum(ln.over_cost.mean for found in lines.values() for ln in found if ln.name == n) for n in able}
    return min(regret, key=regret.__getitem__) if regret else RANDOM


def conclusion(lines: Mapping[str, Sequence[Line]], *, n_rungs: int, n_seeds: int) -> str:
    """What the table says about the default, once it has two rungs and two training seeds."""
    default = f"`{default_selection()}`"
    if min(n_rungs, n_seeds) < 2:
        rungs, seeds = (
            f"{n} {what}s" if n > 1 else f"one {what}" for n, what in ((n_rungs, "rung"), (n_seeds, "seed"))
        )
        return f"{rungs.capitalize()}, {seeds}: no ground for a default yet; {default} stays."
    return f"Selection strategy that wins: `{winner(lines)}`. The default is {default}."


def verdict(lines: Sequence[Line]) -> str:
    """What an alphabet says, in a sentence or two."""
    iid, lot = (", ".join(ln.name for ln in lines if getattr(ln, gain).low > 0) for gain in ("gain", "over_random"))
    return f"Less regret than independent draws: {iid or 'none'}. Than parents by lot: {lot or 'none'}."


def write_report(lands: Sequence[Landscape], curves: Curves, *, cost: str, out: Path | None) -> str:
    """The report; also written as `table.md` and `table.svg` where a folder is given."""
    lines = {land.alphabet: summarise(land, curves[land.alphabet], cost) for land in lands}
    parts = [_landscapes(lands)]
    for land in lands:
        n = len(next(iter(curves[land.alphabet].values())))
        found = lines[land.alphabet]
        parts += [f"### Alphabet `{land.alphabet}`", _strategies(found, n), verdict(found), _best_so_far(land, found)]
    if len(lands) == 2:
        tau = concordance(*lines.values())
        parts.append(f"Kendall's tau of the two rankings: {tau:.2f} (1 the same order, 0 none).")
    if all(set(SELECTIONS) <= curves[land.alphabet].keys() for land in lands):
        parts.append(conclusion(lines, n_rungs=lands[0].n_rungs, n_seeds=lands[0].n_seeds))
    text = "\n\n".join(parts) + "\n"
    if out is not None:
        _insert(out / "table.md", text)
        (out / "table.svg").write_text(plot(lines), encoding="utf-8")
    return text


MARK = "<!-- measured -->"


def _insert(path: Path, text: str) -> None:
    """Put the figures below the mark of a page, in the place of those that stood there."""
    page = path.read_text(encoding="utf-8") if path.exists() else f"# The table\n\n{MARK}\n"
    path.write_text(page.partition(MARK)[0] + f"{MARK}\n\n{text}", encoding="utf-8")


def _landscapes(lands: Sequence[Landscape]) -> str:
    rows = [
        "| alphabet | designs | failed | rungs x seeds | distance and difference, p | gap to nearest, any, p | pairs decided as on top |",
        "|---|---|---|---|---|---|---|",
    ]
    for land in lands:
        smooth = smoothness(land)
        decided = (
            "needs two training seeds"
            if land.n_seeds < 2
            else "; ".join(
                f"{r + 1}: {a:.2f} ({low:.2f}, {high:.2f})"
                for r in range(land.n_rungs)
                for a, low, high in [decision_accuracy(land, r)]
            )
        )
        rows.append(
            f"| {land.alphabet} | {len(land.places)} | {len(land.places) - len(land.values)} | {land.n_rungs} x {land.n_seeds} "
            f"| {smooth.correlation:.2f}, {smooth.p_correlation:.3f} | {smooth.nearest_gap:.3f}, {smooth.any_gap:.3f}, "
            f"{smooth.p_nearest:.3f} | {decided} |"
        )
    return "\n".join(rows)


def _strategies(lines: Sequence[Line], n_replays: int) -> str:
    rows = [
        f"| contestant ({n_replays} replays) | regret over the budget | simple regret | less than iid by | than random by | makespan |",
        "|---|---|---|---|---|---|",
    ]
    rows += [
        f"| {ln.name} | {ln.over_cost} | {ln.final} | {ln.gain} | {ln.over_random} | {ln.makespan:.2f} |"
        for ln in lines
    ]
    return "\n".join(rows)


def _best_so_far(land: Landscape, lines: Sequence[Line]) -> str:
    """True fitness of the leader at quarters of the budget."""
    quarters = [N_POINTS * k // 4 - 1 for k in (1, 2, 3, 4)]
    rows = [
        f"| best so far (the best there is: {land.best:.3f}) at | 25% of the budget | 50% | 75% | 100% |",
        "|---|---|---|---|---|",
    ]
    rows += [f"| {line.name} | {' | '.join(str(line.curve[k]) for k in quarters)} |" for line in lines]
    return "\n".join(rows)


_COLOURS = (
    "#4363d8",
    "#e6194b",
    "#3cb44b",
    "#f58231",
    "#911eb4",
    "#469990",
    "#9a6324",
    "#000075",
    "#808000",
    "#f032e6",
)
_WIDTH, _HEIGHT, _LEFT, _LEGEND = 340, 240, 48, 190


def plot(lines: Mapping[str, Sequence[Line]]) -> str:
    """Best so far against cost as SVG, an alphabet beside the other; the band of the independent draws shaded."""
    names = sorted(
        {
            line.name
            for found in lines.values()
            for line in found
            if "promotion" not in line.name and "adaptive op" not in line.name
        }
    )
    colours = {name: _COLOURS[i % len(_COLOURS)] for i, name in enumerate(names)}
    width = len(lines) * (_WIDTH + _LEFT) + _LEGEND
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{_HEIGHT + 60}" font-family="sans-serif" font-size="11">',
        f'<rect width="{width}" height="{_HEIGHT + 60}" fill="white"/>',
    ]
    for i, (alphabet, found) in enumerate(lines.items()):
        shown = [line for line in found if line.name in colours]
        parts += _panel(alphabet, shown, colours, _LEFT + i * (_WIDTH + _LEFT))
    for k, name in enumerate(names):
        x, y = len(lines) * (_WIDTH + _LEFT) + 16, 34 + 16 * k
        parts.append(f'<path d="M{x} {y - 4}h18" stroke="{colours[name]}" stroke-width="2"{_dash(name)}/>')
        parts.append(f'<text x="{x + 24}" y="{y}">{name}</text>')
    return "\n".join([*parts, "</svg>"]) + "\n"


def _panel(alphabet: str, lines: Sequence[Line], colours: Mapping[str, str], left: float) -> list[str]:
    low = min(e.low for line in lines for e in line.curve)
    high = max(e.high for line in lines for e in line.curve)
    spread = (high - low) or 1.0

    def point(k: int, value: float) -> str:
        return f"{left + _WIDTH * (k + 1) / N_POINTS:.1f} {24 + _HEIGHT * (1 - (value - low) / spread):.1f}"

    parts = [
        f'<text x="{left}" y="16" font-weight="bold">{alphabet}: true fitness of the leader</text>',
        f'<path d="M{left} 24V{24 + _HEIGHT}H{left + _WIDTH}" fill="none" stroke="black"/>',
        f'<text x="{left + _WIDTH}" y="{_HEIGHT + 42}" text-anchor="end">share of the budget, 0 to 1</text>',
        f'<text x="{left - 4}" y="32" text-anchor="end">{high:.2f}</text>',
        f'<text x="{left - 4}" y="{24 + _HEIGHT}" text-anchor="end">{low:.2f}</text>',
    ]
    for line in lines:
        if line.name == BASELINE:
            band = [point(k, e.low) for k, e in enumerate(line.curve)]
            band += [point(k, e.high) for k, e in reversed(list(enumerate(line.curve)))]
            parts.append(f'<path d="M{"L".join(band)}Z" fill="{colours[line.name]}" opacity="0.15"/>')
        path = "L".join(point(k, e.mean) for k, e in enumerate(line.curve))
        parts.append(
            f'<path d="M{path}" fill="none" stroke="{colours[line.name]}" stroke-width="1.5"{_dash(line.name)}/>'
        )
    return parts


def _dash(name: str) -> str:
    return ' stroke-dasharray="4 3"' if "no ladder" in name or name == BASELINE else ""
