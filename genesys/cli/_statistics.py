"""Comparisons, winners and tasks as a reader wants them. No word of winning below three paired seeds."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from genesys.cli._output import Folded, counted, make_table, printable

Json = dict[str, Any]

ALPHA = 0.05


def verdict(comparison: Json | None, n_seeds: int) -> str:
    """A comparison in a cell: the verdict once there are three pairs, until then how many seeds there are."""
    if comparison is None or comparison["verdict"] == "too few seeds":
        return f"{n_seeds} seed{'s' if n_seeds > 1 else ''}"
    return f"{comparison['verdict']}, {comparison['n_pairs']} seeds"


def comparison_table(found: Json) -> Any:
    """Fitness and metrics of two designs."""
    a, b = printable(found["name_a"]), printable(found["name_b"])
    title = f"{a} (A) against {b} (B) at {found['scale']}, training seeds {', '.join(map(str, found['seeds']))}"
    table = make_table(title, ("metric", "A", "B", "in A's favour", "effect", "p", "A is"), names=("metric",))
    table.add_row(Folded("fitness", "bold"), "", "", *_cells(found["fitness"]))
    for metric in found["metrics"]:
        table.add_row(Folded(metric["metric"]), f"{metric['a']:.4f}", f"{metric['b']:.4f}", *_cells(metric))
    return table


def _cells(c: Json) -> tuple[str, ...]:
    interval = "" if c["low"] is None else f" ± {(c['high'] - c['low']) / 2:.4f}"
    effect = "" if c["effect_size"] is None else f"{c['effect_size']:+.1f}"
    p = f"{c['p_value']:.3f}" if c["p_value"] >= 0.001 else "<0.001"
    return (f"{c['difference']:+.4f}{interval}", effect, p, verdict(c, c["n_pairs"]).partition(",")[0])


def comparison_notes(found: Json) -> Iterator[str]:
    """What the table allows one to say."""
    a, b, fitness = printable(found["name_a"]), printable(found["name_b"]), found["fitness"]
    n, more = fitness["n_pairs"], fitness["n_more"]
    if fitness["verdict"] in ("better", "worse"):
        first, second = (a, b) if fitness["verdict"] == "better" else (b, a)
        yield f"{first} is better than {second}: {n} paired seeds, always-valid p = {fitness['p_value']:.3g}."
    elif fitness["p_value"] <= ALPHA and n >= found["min_pairs"]:
        yield f"No claim: {n} paired seeds. The evidence has sufficed, but the mean has turned since, or a seed failed."
    else:
        yield f"No claim: {n} paired {'seed' if n == 1 else 'seeds'}. " + _needs(n, more, found["min_pairs"])
    for name, failed in ((a, found["failed_a"]), (b, found["failed_b"])):
        if failed:
            yield (
                f"{name} failed by its own fault with seed {', '.join(map(str, failed))}, so it is not called better."
            )
    picked = fitness["best_of"]
    if picked > 1:
        yield (
            f"Corrected for the best of {picked} designs, since one of these two leads them there; --best-of 1 if the "
            f"pair was fixed beforehand."
        )
    yield (
        "Fitness in units of the leaderboard; ± spans the 95% interval for a number of seeds fixed beforehand; effect is the "
        "mean in standard deviations of the differences; p is valid however often one looks, each metric's corrected for "
        f"the {len(found['metrics'])} listed."
    )


def _needs(n: int, more: int | None, least: int) -> str:
    if more is not None and more + n > least:
        return f"If the difference is as large as it looks, about {more} more would settle it."
    if n < least:
        return f"{least - n} more paired {'seed is' if least - n == 1 else 'seeds are'} needed before any."
    return "The noise is too large for any number of seeds to settle a difference of this size."


def winners_table(rows: list[Json]) -> Any:
    """The highest design on each task and probe."""
    where = f" at {rows[0]['scale']}, of {counted(rows[0]['n_designs'], 'design')}" if rows else ""
    numbers = ("value", "accu-\nracy", "chance", "major-\nity", "above\nmean", "by\nluck")
    columns = ("ranks by", "design", *numbers, "verdict")
    table = make_table(
        f"Highest on each task and probe{where}", columns, names=("ranks by", "design", "verdict"), gap=1
    )
    for row in rows:
        figures = (row[key] for key in ("value", "accuracy", "chance", "majority"))
        table.add_row(
            Folded(row["vote"]), Folded(row["name"]), *("" if x is None else f"{x:.3f}" for x in figures),
            f"{row['lead']:+.3f}", f"{row['luck']:+.3f}", verdict(row["against_reference"], row["n_seeds"]),
        )  # fmt: skip
    table.caption = (
        "By luck: what the best of as many equal designs stands above their mean on average, from the error over documents "
        "and, where designs have several, training seeds. Verdicts are against the reference, corrected for all designs and "
        "tasks."
    )
    return table


def groups_table(groups: list[Json]) -> Any:
    """Groups of designs against each other."""
    if not groups:
        return "Seeds and discovered designs do not meet at this scale."
    title = f"Group against group at {groups[0]['scale']}, best against best on each task and probe"
    columns = ("group", "designs", "seeds\neach", "mean\nscore", "highest\non", "by\nluck", "p")
    table = make_table(title, columns, names=("group",))
    for group in groups:
        table.add_row(
            Folded(group["name"]), str(group["n_designs"]), f"≥ {group['n_seeds']}", f"{group['mean']:.3f}", f"{group['wins']:g}",
            f"{group['expected_wins']:.1f}", f"{group['p_value']:.3f}",
        )  # fmt: skip
    table.caption = (
        "A larger group is highest more often by luck: that and p are over random deals of the same designs to groups of "
        "these sizes."
    )
    return table


def tasks_table(found: Json) -> Any:
    """Tasks and probes, the most worth first."""
    unit = found["cost_unit"]
    title = f"Tasks and probes at {found['scale']}, {counted(found['n_designs'], 'design')}"
    numbers = ("mean", "signal", "noise", "signal/\nnoise", "reli-\nability", f"cost,\n{unit}" if unit else "cost")
    table = make_table(title, ("ranks by", *numbers), names=("ranks by",))
    for task in found["tasks"]:
        ratio = "no noise" if task["signal_to_noise"] is None else f"{task['signal_to_noise']:.2f}"
        table.add_row(
            Folded(task["vote"]), f"{task['mean']:.3f}", f"{task['signal']:.3f}",
            f"{task['noise']:.3f}{'' if task['seed_deviation'] is not None else ' *'}", ratio,
            f"{task['reliability']:.2f}", "" if task["cost"] is None else f"{task['cost']:,.3g}",
        )  # fmt: skip
    table.caption = (
        "Of scores with chance at 0 and perfection at 1, one training seed each. Noise is that of documents and training "
        "seeds; * documents alone, since no design has a second seed there."
    )
    return table


def tasks_notes(found: Json, suite: str | None) -> Iterator[str]:
    """The suite that the table proposes, and what a final comparison may use."""
    proposed = found["proposed"]
    if proposed is None:
        yield "No suite proposed: it takes three designs, and results that stand out of their noise."
    else:
        loss = 1.0 - proposed["reliability"] / proposed["of_all"]
        cost = ""
        if proposed["cost"] is not None and proposed["cost_of_all"]:
            cost = f" at {proposed['cost'] / proposed['cost_of_all']:.0%} of the cost"
        yield (
            f"Proposed suite: {', '.join(proposed['votes'])}; {len(proposed['votes'])} of {len(found['tasks'])}{cost}. Its "
            f"mean agrees with the true mean of all with reliability {proposed['reliability']:.2f}, against "
            f"{proposed['of_all']:.2f} for all of them: "
            + (f"it would lose {loss:.0%}." if loss > 0 else "it would lose nothing here.")
        )
    yield (
        f"Read by this run's selection and promotion, so no final judges: {', '.join(found['read']) or 'nothing'}, and the "
        "test split of the corpus."
    )
    if suite:
        left = ", ".join(found["untouched"]) or "none"
        yield f"Of {suite}, a final comparison may still use: {left}."
