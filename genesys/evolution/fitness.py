"""Fitness of language models: bits per byte, and scores of tasks and probes, against a reference design.

Metrics read: `test_bpb`, `test_bpb_se`, `unigram_bpb`, and those of `genesys.evolution.votes`. Errors default to 0.

Source: decisions.md 13; Cheng et al. 2025 (arXiv 2506.20249) for `PaperFitness`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from math import fsum, isfinite, sqrt
from statistics import fmean, stdev

from genesys.errors import ConfigError, suggest
from genesys.evolution.rating import Z_95, FitnessRule, Metrics, Rater, Rating
from genesys.evolution.votes import Ballot, accuracies, check_votes, earnings, votes

MIN_GAIN = 0.1
"""Share of the unigram bits that the unit of gain is never below: a reference that has hardly learned is no measure."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RelativeFitness:
    """Half the gain in bits per byte over the unigram model, relative to the reference's; half the mean score.

    The mean is over probes and tasks alike, one vote each, a group of tasks as one. Scores are normalised: 0 is
    chance, 1 is perfect. The votes counted are the reference's: one a design lacks counts as chance, and so does one
    below chance, so that fewer results never help. A reference that gains less than 10% of the unigram bits counts as gaining that much: with a
    smaller unit its own noise would outweigh everything. Without a reference (it failed) the gain is taken relative
    to the unigram bits and the rating is marked `anchored=False`.

    Attributes:
        seed_deviation: Standard deviation of the raw number over training seeds, used until the reference has
            replicates at a scale. The default is a cautious guess for small rungs.
        recall_probes: Names of the probes that show recall.
        recall_pass: Accuracy from which a design counts as recall-capable.

    The interval holds the design's own errors, not the reference's, which all designs at a scale share.
    """

    seed_deviation: float = 0.02
    recall_probes: tuple[str, ...] = ("recall", "mqar")
    recall_pass: float = 0.9
    name: str = "relative"
    needs_reference: bool = True
    standardised: bool = True
    protected_niches: tuple[str, ...] = ("recall",)

    def check(self, metrics: Metrics) -> None:
        _check_finite(metrics)
        for key in ("test_bpb", "unigram_bpb"):
            if not metrics.get(key, 0.0) > 0.0:
                raise ValueError(f"metric {key!r} is {metrics.get(key)}; expected above 0")
        check_votes(metrics)

    def rater(self, reference: Sequence[Metrics] | None) -> Rater:
        if not reference:
            return self._unanchored
        unigram_bpb = fmean([m["unigram_bpb"] for m in reference])
        scale_bpb = max(MIN_GAIN * unigram_bpb, fmean([_gain(m) for m in reference]))
        ballot = Ballot(votes(*reference))
        deviation = self.seed_deviation
        if len(reference) > 1:
            deviation = stdev([_raw_and_variance(m, scale_bpb, ballot)[0] for m in reference])
        return partial(_rate, scale_bpb, ballot, deviation**2, True)

    def _unanchored(self, runs: Sequence[Metrics]) -> Rating:
        scale_bpb = fmean([m["unigram_bpb"] for m in runs])
        return _rate(scale_bpb, Ballot(votes(*runs)), self.seed_deviation**2, False, runs)

    def niche(self, metrics: Metrics) -> str:
        """`recall` or `no-recall`; "" when no recall probe was run."""
        best = max([metrics.get(key, -1.0) for key in _probe_keys(self.recall_probes)], default=-1.0)
        if best < 0.0:
            return ""
        return "recall" if best >= self.recall_pass else "no-recall"


@dataclass(frozen=True, slots=True, kw_only=True)
class PaperFitness:
    """The plain mean of the tasks' accuracies, as in the paper; of the probes', where there are no tasks.

    No axis across scales, and no seed deviation in the interval. The accuracies counted are the reference's where it
    has been measured; one a design lacks counts as 0, so that fewer results never help.
    """

    name: str = "paper"
    needs_reference: bool = False
    standardised: bool = False
    protected_niches: tuple[str, ...] = ()

    def check(self, metrics: Metrics) -> None:
        _check_finite(metrics)
        check_votes(metrics)
        if not accuracies(metrics):
            raise ValueError("there is no accuracy (`task_<name>` or `probe_<name>`); expected at least one")

    def rater(self, reference: Sequence[Metrics] | None) -> Rater:
        def rate(runs: Sequence[Metrics]) -> Rating:
            names = accuracies(*(reference or runs))
            means = [fmean(m.get(n, 0.0) for n in names) for m in runs]
            errors = [m.get(f"{n}_se", 0.0) / len(names) for m in runs for n in names]
            return Rating(raw=fmean(means), half_width=Z_95 * sqrt(sum(e * e for e in errors)) / len(runs))

        return rate

    def niche(self, metrics: Metrics) -> str:
        return ""


_RULES: dict[str, type[RelativeFitness] | type[PaperFitness]] = {"relative": RelativeFitness, "paper": PaperFitness}


def resolve_fitness(rule: str | FitnessRule = "relative") -> FitnessRule:
    """A rule by name, or the object itself.

    Raises:
        ConfigError: No such name.
    """
    if not isinstance(rule, str):
        return rule
    if rule not in _RULES:
        raise ConfigError(f"Cannot use fitness {rule!r}; expected one of {', '.join(_RULES)}.{suggest(rule, _RULES)}")
    return _RULES[rule]()


@lru_cache(maxsize=16)
def _probe_keys(names: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(f"probe_{name}" for name in names)


def _gain(metrics: Metrics) -> float:
    return metrics["unigram_bpb"] - metrics["test_bpb"]


def _rate(scale_bpb: float, ballot: Ballot, seed_variance: float, anchored: bool, runs: Sequence[Metrics]) -> Rating:
    n, found = len(runs), [_raw_and_variance(m, scale_bpb, ballot) for m in runs]
    raw, variance = found[0] if n == 1 else (fsum([raw for raw, _ in found]) / n, fsum([v for _, v in found]) / n)
    half_width = Z_95 * sqrt((variance + seed_variance) / n)
    return Rating(raw, half_width, anchored)


def _raw_and_variance(metrics: Metrics, scale_bpb: float, ballot: Ballot) -> tuple[float, float]:
    gain, n = _gain(metrics) / scale_bpb, len(ballot.votes)
    bits = (metrics.get("test_bpb_se", 0.0) / scale_bpb) ** 2
    if not n:
        return gain, bits
    score, squares = earnings(metrics, ballot)
    return 0.5 * gain + 0.5 * score / n, 0.25 * bits + 0.25 * squares / n**2


def _check_finite(metrics: Metrics) -> None:
    if isfinite(sum(metrics.values())):  # so are all that it adds up
        return
    for key, value in metrics.items():
        if not isfinite(value):
            raise ValueError(f"metric {key!r} is {value}; expected a finite number")
