"""Per-task winners, and group against group: claims about portfolios, apart from those about a single design.

Some one of five designs is highest on most tasks by luck alone. So each lead stands beside what luck gives the best of
k, and wins of a group beside those that groups of the same sizes get when designs are dealt to them at random.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import sqrt
from random import Random
from statistics import fmean

from genesys.evolution.comparison import measured_runs, paired_runs, withhold
from genesys.evolution.design import Run
from genesys.evolution.inference import Comparison, compare, expected_maximum
from genesys.evolution.rating import Metrics
from genesys.evolution.signal import noise_of
from genesys.evolution.tree import EvolutionTree
from genesys.evolution.votes import chance_of, earned, votes

N_DEALS = 2000

Scores = Mapping[str, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskWinner:
    """The highest design on one vote, by its mean over training seeds.

    Attributes:
        vote: Key of the metric that ranks, such as `probe_recall` or `task_arc_easy_prob`.
        value, chance: Of the metric itself; `value` is the winner's.
        accuracy, majority: Of a task: the winner's accuracy, whether it ranks or not, and the share of the commonest
            answer; None where there is none.
        lead: Normalised score above the mean of all designs there.
        luck: Expected lead of the best of as many equal designs with the noise measured there; without replicates that
            of documents alone, to which training seeds would add.
        against_reference: Paired over seeds, corrected for all designs times all votes; None for the reference itself
            and without a common seed.
    """

    vote: str
    design: str
    value: float
    chance: float
    accuracy: float | None
    majority: float | None
    n_seeds: int
    n_designs: int
    lead: float
    luck: float
    against_reference: Comparison | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """One group's part in a contest.

    Attributes:
        wins: Votes on which its best design is the highest; a tie counts by halves.
        expected_wins: The mean over random deals of the same designs to groups of these sizes.
        p_value: Share of random deals in which it wins at least as many: small when more than its size is at work.
        mean: Mean over its designs and all votes of the normalised score.
        n_seeds: The fewest training seeds of any of its designs.
    """

    name: str
    designs: tuple[str, ...]
    wins: float
    expected_wins: float
    p_value: float
    mean: float
    n_seeds: int


def task_winners(tree: EvolutionTree, scale: str) -> list[TaskWinner]:
    """The highest design of each vote at a scale, votes in alphabetical order."""
    runs = measured_runs(tree, scale)
    names = votes(*(run.metrics for found in runs.values() for run in found))
    return [_winner(tree, scale, vote, runs, len(names)) for vote in names]


def group_contest(tree: EvolutionTree, scale: str, groups: Mapping[str, Sequence[str]]) -> tuple[Group, ...]:
    """Groups of designs against each other, best against best on each vote; no group is empty."""
    runs = {d: found for d, found in measured_runs(tree, scale).items() if any(d in g for g in groups.values())}
    names = votes(*(run.metrics for found in runs.values() for run in found))
    scores = {vote: mean_scores(runs, vote) for vote in names}
    wins = _wins(scores, groups)
    designs, rng = sorted(runs), Random(0)
    deals = [_wins(scores, _deal(designs, groups, rng)) for _ in range(N_DEALS)]
    return tuple(
        Group(
            name=name, designs=tuple(members), wins=wins[name], expected_wins=fmean(deal[name] for deal in deals),
            p_value=(1 + sum(deal[name] >= wins[name] for deal in deals)) / (1 + N_DEALS),
            mean=fmean(scores[vote][d] for vote in names for d in members) if names else 0.0,
            n_seeds=min(len({run.seed for run in runs[d]}) for d in members),
        )
        for name, members in groups.items()
    )  # fmt: skip


def seeds_and_discovered(tree: EvolutionTree, scale: str) -> dict[str, tuple[str, ...]]:
    """The two groups that matter to a run; those with a result at the scale."""
    runs = measured_runs(tree, scale)
    groups = {
        "seeds": tuple(d for d in runs if tree.record(d).is_seed),
        "discovered": tuple(d for d in runs if not tree.record(d).is_seed),
    }
    return {name: members for name, members in groups.items() if members}


def mean_scores(runs: Mapping[str, Sequence[Run]], vote: str) -> dict[str, float]:
    """What each design earns on a vote, mean over its runs."""
    return {design: fmean(earned(run.metrics, vote) for run in found) for design, found in runs.items()}


def _winner(tree: EvolutionTree, scale: str, vote: str, runs: Mapping[str, Sequence[Run]], n_votes: int) -> TaskWinner:
    scores = mean_scores(runs, vote)
    measured = {d: found for d, rs in runs.items() if (found := [r.metrics for r in rs if vote in r.metrics])}
    best = max(measured, key=lambda design: (scores[design], fmean(m[vote] for m in measured[design])))
    found = measured[best]
    plain = vote.removesuffix("_prob")
    noise = sqrt(noise_of({d: [r for r in runs[d] if vote in r.metrics] for d in measured}, vote)[1])
    return TaskWinner(
        vote=vote, design=best, value=fmean(m[vote] for m in found), chance=chance_of(found[0], vote),
        accuracy=_mean(found, plain), majority=_mean(found, f"{plain}_majority"),
        n_seeds=len({run.seed for run in runs[best]}), n_designs=len(scores), lead=scores[best] - fmean(scores.values()),
        luck=noise * expected_maximum(len(scores)),
        against_reference=_against_reference(tree, best, scale, vote, best_of=max(1, len(scores) - 1) * n_votes),
    )  # fmt: skip


def _mean(runs: Sequence[Metrics], key: str) -> float | None:
    found = [metrics[key] for metrics in runs if key in metrics]
    return fmean(found) if found else None


def _against_reference(tree: EvolutionTree, design: str, scale: str, vote: str, *, best_of: int) -> Comparison | None:
    if design == tree.reference or tree.reference not in tree.records:
        return None
    first, second = tree.record(design), tree.record(tree.reference)
    pairs = paired_runs(first, second, scale)
    scores = [(earned(x.metrics, vote), earned(y.metrics, vote)) for x, y in pairs]
    return withhold(compare(scores, best_of=best_of), first, second, scale, pairs, vote) if scores else None


def _wins(scores: Mapping[str, Scores], groups: Mapping[str, Sequence[str]]) -> dict[str, float]:
    wins = dict.fromkeys(groups, 0.0)
    for by_design in scores.values():
        bests = {name: max(by_design[design] for design in members) for name, members in groups.items()}
        top = [name for name, best in bests.items() if best == max(bests.values())]
        for name in top:
            wins[name] += 1.0 / len(top)
    return wins


def _deal(designs: Sequence[str], groups: Mapping[str, Sequence[str]], rng: Random) -> dict[str, list[str]]:
    rest = rng.sample(designs, len(designs))
    return {name: [rest.pop() for _ in members] for name, members in groups.items()}
