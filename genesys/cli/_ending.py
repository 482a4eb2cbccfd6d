"""What is said of a run as a whole: which strategies failed, what its fitness means, how it ended and goes on."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from typing import TYPE_CHECKING

from genesys.cli._output import counted

if TYPE_CHECKING:
    from genesys.api import Run
    from genesys.evolution import EvolutionTree

_N_FAILURES = 5  # kinds of them that are named


def failure_notes(run: Run) -> Iterator[str]:
    """One sentence for each strategy and reason for which a choice by lot stood in."""
    from genesys.evolution.events import PolicyFailed

    if not run.tree.counters[PolicyFailed.kind]:
        return
    with closing(run.store.journal(mode="reader")) as journal:
        found = Counter(entry.event for entry in journal.read() if isinstance(entry.event, PolicyFailed))
    for failed, n in found.most_common(_N_FAILURES):
        times = "once" if n == 1 else f"{n:,} times"
        yield (
            f"{failed.policy.capitalize()} strategy {failed.strategy} failed {times} ({failed.reason}); a choice by lot "
            "stood in."
        )
    if len(found) > _N_FAILURES:
        yield f"Strategies failed for {counted(len(found) - _N_FAILURES, 'more reason')}; the journal has all."


def reference_of(tree: EvolutionTree) -> str:
    """The name of the reference; "" for none."""
    return tree.record(tree.reference).name if tree.reference else ""


def fitness_note(tree: EvolutionTree) -> str:
    """What a run's fitness counts."""
    if not tree.rule.standardised:
        return "Fitness: the mean accuracy of the tasks, or of the probes where there are no tasks."
    if not tree.reference:
        return "Fitness: gain over the unigram model, in units of the spread of the seeds; no reference."
    return f"Fitness: 0 is {reference_of(tree)}, the reference, at that scale, 1 the spread of the seeds."


def unmeasured_note(tree: EvolutionTree) -> str:
    """The descriptors of a selection that no rated design has; "" for none."""
    from genesys.evolution.selection.map_elites import unmeasured

    names = ", ".join(map(repr, unmeasured(tree)))
    return names and f"Descriptor {names} made no difference to map_elites: no rated design has that metric."


def ended_note(run: Run) -> str:
    """Why a run ended, in a sentence or two; "" while it goes on."""
    ended = run.tree.finished or run.tree.draining
    return ended and f"The run has ended: {ended}.{_money_note(run.tree)}"


def _money_note(tree: EvolutionTree) -> str:
    """That designs are missing because money for language models is; "" where nothing is missing."""
    bottom = tree.ledger.account(tree.scales[0])
    if not tree.out_of_money or bottom.used >= bottom.quota:
        return ""
    return (
        f" The money of its language models is spent: {tree.out_of_money.rstrip('.')}. Raise what is reached in agents.caps "
        "and go on with --resume."
    )


def unrated_note(run: Run) -> str:
    """Why there is no leaderboard, and what became of the designs there are."""
    from genesys.evolution.status import run_status

    states = ", ".join(f"{n} {state}" for state, n in run_status(run.tree).states.items() if n) or "none"
    return (
        f"{ended_note(run)} No design is rated{'' if ended_note(run) else ' yet'}; designs: {states}. More: genesys tree "
        f"{run.name}"
    ).strip()
