"""Which metrics rank: one vote for each probe and each task, named by the key of the metric that counts.

Keys of a probe or a task are `probe_<name>` or `task_<name>` (an accuracy, or the task's own metric scaled to 0..1), and
beside it `_se`, `_chance` and, for tasks, `_majority`. Where likelihoods are compared there are also `_prob` and
`_prob_se`: then `task_<name>_prob` is the vote and the accuracy is only reported. A suite reports a group of tasks as
one task, so that BLiMP's 67 paradigms are one vote.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from math import fsum
from operator import itemgetter

from genesys.evolution.rating import Metrics


class Ballot:
    """Some votes, and how to read them out of metrics at once: a replay does so millions of times.

    Args:
        votes: Their keys; they keep this order.
    """

    def __init__(self, votes: Sequence[str]) -> None:
        self.votes = tuple(votes)
        beside = [_key_beside(vote, what) for what in ("_chance", "_se") for vote in votes]
        self._keys = (*votes, *beside)
        self._pick = itemgetter(*self._keys) if votes else lambda metrics: ()

    def read(self, metrics: Metrics) -> tuple[Sequence[float], Sequence[float], Sequence[float]]:
        """Results, chance levels and standard errors, in the order of the votes; a result that lacks counts as chance."""
        n = len(self.votes)
        try:
            found = self._pick(metrics)
        except KeyError:
            beside = [metrics.get(key, 0.0) for key in self._keys[n:]]
            found = (*map(metrics.get, self.votes, beside), *beside)
        return found[:n], found[n : 2 * n], found[2 * n :]


_BESIDE = ("_se", "_chance", "_majority")


def votes(*runs: Metrics) -> tuple[str, ...]:
    """Keys of the metrics that rank, found in any of these runs, sorted.

    A task that has likelihoods in one run votes by them in all: a run without them has not got that result.
    """
    return _votes_among(_results("probe_", *runs) + _results("task_", *runs))


def accuracies(*runs: Metrics) -> tuple[str, ...]:
    """Keys of the tasks' accuracies in any of these runs, sorted; of the probes' when there is no task."""
    found = _results("task_", *runs) or _results("probe_", *runs)
    return tuple(key for key in found if not key.endswith("_prob"))


def probe_names(*runs: Metrics) -> tuple[str, ...]:
    """Names of the probes in any of these runs, sorted."""
    return tuple(key.removeprefix("probe_") for key in _results("probe_", *runs))


def task_names(*runs: Metrics) -> tuple[str, ...]:
    """Names of the tasks in any of these runs, sorted."""
    return tuple(sorted({task_of(key) for key in _results("task_", *runs)}))


def compared(*runs: Metrics) -> dict[str, int]:
    """What a comparison of two designs lists: bits per byte, every vote, and the accuracies beside them.

    1 where more is better, -1 where less is.
    """
    bits = {"test_bpb": -1} if any("test_bpb" in m for m in runs) else {}
    return bits | dict.fromkeys(_results("probe_", *runs) + _results("task_", *runs), 1)


def task_of(vote: str) -> str:
    """The bare name of a vote: `arc_easy` of `task_arc_easy_prob`, `recall` of `probe_recall`."""
    return vote.removesuffix("_prob").removeprefix("task_").removeprefix("probe_")


def chance_of(metrics: Metrics, vote: str) -> float:
    """Its analytic chance level."""
    return metrics.get(_key_beside(vote, "_chance"), 0.0)


def absent_as(metrics: Metrics, key: str) -> float | None:
    """What a run without this metric counts as beside these: chance for a probe or task, nothing for others."""
    return chance_of(metrics, key) if key.startswith(("probe_", "task_")) else None


def score_of(metrics: Metrics, vote: str) -> float:
    """The result with chance at 0 and perfection at 1; 0 when there is none."""
    chance = chance_of(metrics, vote)
    return (metrics.get(vote, chance) - chance) / (1.0 - chance)


def earned(metrics: Metrics, vote: str) -> float:
    """What the result is worth: its score, and 0 below chance, since lacking a result must not beat a bad one."""
    return max(0.0, score_of(metrics, vote))


def error_of(metrics: Metrics, vote: str) -> float:
    """Standard error of `score_of` over the documents."""
    return metrics.get(_key_beside(vote, "_se"), 0.0) / (1.0 - chance_of(metrics, vote))


def earnings(metrics: Metrics, ballot: Ballot) -> tuple[float, float]:
    """Sums over votes of `earned` and of `error_of`, squared: without their calls, of which a replay would make ten million."""
    scores, squares = [], 0.0
    for result, chance, error in zip(*ballot.read(metrics), strict=True):
        room = 1.0 - chance
        if result > chance:
            scores.append((result - chance) / room)
        squares += (error / room) ** 2
    return fsum(scores), squares


def check_votes(metrics: Metrics) -> None:
    """Raise ValueError, naming the probe or task, when a result of these finite metrics lies where none can."""
    ballot = _results_in(tuple(metrics))
    if not ballot.votes:
        return
    results, chances, errors = ballot.read(metrics)
    if min((*results, *chances, *errors)) >= 0.0 and max(results) <= 1.0 and max(chances) < 1.0:
        return
    for key, result, chance, error in zip(ballot.votes, results, chances, errors, strict=True):
        if not 0.0 <= result <= 1.0 or not 0.0 <= chance < 1.0:
            raise ValueError(f"{_said(key)} is {result}; expected within 0..1, chance below 1")
        if error < 0.0:
            raise ValueError(f"{_said(key)} has a standard error of {error}; expected 0 or more")


@lru_cache(maxsize=4096)
def _key_beside(vote: str, what: str) -> str:
    return (vote.removesuffix("_prob") if what == "_chance" else vote) + what


def _said(key: str) -> str:
    kind, _, name = key.partition("_")
    return f"{kind} {name!r}"


def _results(prefix: str, *runs: Metrics) -> tuple[str, ...]:
    """Keys of results, `_prob` included, that begin so."""
    if len(runs) == 1:
        return _results_among(prefix, tuple(runs[0]))
    return tuple(sorted({key for m in runs for key in _results_among(prefix, tuple(m))}))


@lru_cache(maxsize=1024)
def _results_in(keys: tuple[str, ...]) -> Ballot:
    return Ballot(_results_among("probe_", keys) + _results_among("task_", keys))


@lru_cache(maxsize=1024)
def _votes_among(found: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(key for key in found if f"{key}_prob" not in found)


@lru_cache(maxsize=1024)  # a run's verifications report the same few sets of keys, a million times
def _results_among(prefix: str, keys: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(sorted(key for key in keys if key.startswith(prefix) and not key.endswith(_BESIDE)))
