"""What repeated measurements allow one to say: numbers in, numbers out, nothing about designs.

A claim has to survive that somebody looks at the results after every pair and stops when they please, and that the
pair was picked as the best of many. So claims rest on e-values: under the null hypothesis the expected e-value is at
most 1 whenever one stops, hence the chance that it ever reaches 1/alpha is at most alpha (Ville's inequality), and the
best of k needs k/alpha (the mean of k e-values is one).
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import atan, cos, exp, isclose, isfinite, log, log1p, pi, sin, sqrt
from statistics import NormalDist, fmean, stdev
from typing import Literal

ALPHA = 0.05
MIN_PAIRS = 3
MAX_PAIRS = 10_000
"""Beyond so many pairs a difference counts as one that no number of pairs will show."""

_EFFECT_VARIANCES = (1.0, 10.0, 100.0)
"""Of the normal mixtures over the effect size. Mixed, so that three pairs suffice for a very clear difference (one of
variance 1 cannot reach 20 before the fifth pair) and small ones are found about as soon as by the best single variance."""

_MAX_EXPONENT = 500.0
_RESOLUTION = 1e-9
"""Relative difference that counts as none: rounding errs the same way for every seed."""

Verdict = Literal["better", "worse", "not separated", "too few seeds"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """A paired comparison of A with B; differences are A minus B, and more is better.

    Attributes:
        difference: Mean of the differences.
        deviation: Standard deviation of the differences; None below two pairs.
        low, high: 95% interval of the mean (Student's t), for a number of pairs that was fixed beforehand; None below
            two pairs. The verdict does not rest on it.
        effect_size: Mean difference in units of the deviation (d_z); None where the deviation is 0 or unknown.
        e_value: Evidence against "no difference", the highest so far, corrected for `best_of`; 20 is a claim at 5%.
        p_value: Always-valid: `min(1, 1 / e_value)`. However often one looks, it falls to 5% by luck at most 5% of the
            time.
        best_of: Of how many comparisons this one was picked.
        verdict: The direction of the mean when the e-value was highest; "not separated" if the mean has turned since.
        n_more: Further pairs that would settle a difference as large as this one, judging by the noise; never fewer
            than are missing to three. None when the noise is unknown, more than 10,000 are needed, or none would do.
    """

    n_pairs: int
    difference: float
    deviation: float | None
    low: float | None
    high: float | None
    effect_size: float | None
    e_value: float
    p_value: float
    best_of: int
    verdict: Verdict
    n_more: int | None


def compare(
    pairs: Sequence[tuple[float, float]], *, best_of: int = 1, noise: float | None = None, alpha: float = ALPHA
) -> Comparison:
    """Judge pairs of results, A's and B's of one training seed, in the order in which seeds are added.

    Args:
        pairs: At least one; more is better.
        best_of: How many comparisons there were to pick this one from.
        noise: Standard deviation of such differences known from elsewhere, for a forecast where there is one pair.

    Does not cover: pairs that were chosen by their results; differences that depend on each other, or are far from
    normal (`docs/statistics.md` says how far is too far).

    Raises:
        ValueError: No pair, or a number that is not finite.
    """
    if not pairs or not all(isfinite(x) for pair in pairs for x in pair):
        raise ValueError(f"Cannot compare the pairs {list(pairs)}; expected at least one, and finite numbers.")
    differences = [0.0 if isclose(a, b, rel_tol=_RESOLUTION) else a - b for a, b in pairs]
    n, mean = len(differences), fmean(differences)
    deviation = stdev(differences) if n > 1 else None
    half_width = t_quantile(n - 1) * deviation / sqrt(n) if deviation is not None else None
    evidence = e_values(differences)
    e_value = max(evidence) / best_of
    at_peak = fmean(differences[: evidence.index(max(evidence)) + 1])
    verdict: Verdict = "not separated"
    if n < MIN_PAIRS:
        verdict = "too few seeds"
    elif e_value >= 1.0 / alpha and min(mean, at_peak) > 0.0:
        verdict = "better"
    elif e_value >= 1.0 / alpha and max(mean, at_peak) < 0.0:
        verdict = "worse"
    is_settled = verdict in ("better", "worse")
    return Comparison(
        n_pairs=n, difference=mean, deviation=deviation, best_of=best_of, verdict=verdict,
        low=None if half_width is None else mean - half_width,
        high=None if half_width is None else mean + half_width,
        effect_size=mean / deviation if deviation else None,
        e_value=e_value, p_value=min(1.0, 1.0 / e_value),
        n_more=0 if is_settled else _n_more(n, mean, noise if deviation is None else deviation, best_of / alpha),
    )  # fmt: skip


def e_values(differences: Sequence[float]) -> list[float]:
    """After each of these differences, the evidence that the mean is not 0, if they are normal of any variance.

    A mixture of likelihood ratios over the effect size, in the filtration that does not see the scale: a test
    martingale under every variance. Above 0; 1 after one difference; at most 112 after three, when they are equal.

    Source: Wang and Ramdas 2023 (arXiv 2310.03722), the t-test martingale with a Gaussian mixture; Gönen et al. 2005.
    """
    largest = max(map(abs, differences), default=0.0) or 1.0
    total = squares = 0.0
    values = []
    for n, difference in enumerate(differences, start=1):
        total += difference / largest
        squares += (difference / largest) ** 2
        share = min(1.0, total * total / (n * squares)) if squares > 0.0 else 0.0
        values.append(_mixture(n, share))
    return values


def _mixture(n: int, share: float) -> float:
    return fmean(_likelihood_ratio(n, share, variance) for variance in _EFFECT_VARIANCES)


def _likelihood_ratio(n: int, share: float, variance: float) -> float:
    """With `share` of the sum of squares explained by the mean."""
    spread = 1.0 + n * variance
    exponent = -0.5 * (n * log1p(-share * (1.0 - 1.0 / spread)) + log(spread))
    return exp(min(exponent, _MAX_EXPONENT))


def _n_more(n: int, mean: float, noise: float | None, threshold: float) -> int | None:
    if noise is None:
        return None
    candidates = range(max(MIN_PAIRS, n + 1), MAX_PAIRS + 1)
    i = bisect_left(candidates, True, key=lambda total: _expected_e_value(total, mean, noise) >= threshold)
    return candidates[i] - n if i < len(candidates) else None


def _expected_e_value(n: int, mean: float, noise: float) -> float:
    """The e-value of n differences that have exactly this mean and deviation; it rises with n once it is above 1."""
    explained, left = n * mean * mean, (n - 1) * noise * noise
    share = explained / (explained + left) if explained + left > 0.0 else 0.0
    return _mixture(n, share)


@lru_cache
def t_quantile(freedom: int, probability: float = 0.975) -> float:
    """Quantile of Student's t with whole degrees of freedom, from 1 up; `probability` above one half."""
    low, high = 0.0, 1.0
    while t_distribution(high, freedom) < probability:
        low, high = high, 2.0 * high
    for _ in range(80):
        middle = 0.5 * (low + high)
        low, high = (middle, high) if t_distribution(middle, freedom) < probability else (low, middle)
    return high


def t_distribution(t: float, freedom: int) -> float:
    """Chance that Student's t is at most `t`.

    Source: Abramowitz and Stegun 1964, 26.7.3 and 26.7.4.
    """
    angle = atan(t / sqrt(freedom))
    odd = freedom % 2
    term = total = 0.0 if freedom == 1 else cos(angle) if odd else 1.0
    for k in range(3 if odd else 2, freedom - 1, 2):
        term *= cos(angle) ** 2 * (k - 1) / k
        total += term
    inside = 2.0 / pi * (angle + sin(angle) * total) if odd else sin(angle) * total
    return 0.5 * (1.0 + inside)


@lru_cache
def expected_maximum(k: int) -> float:
    """How far the largest of k standard normal numbers stands above 0 on average: 0 for one, 1.77 for 16, 3.24 for 1,000."""
    normal, step = NormalDist(), 0.01
    # E max = integral over x > 0 of (1 - F(x)**k) - F(-x)**k
    points = (step * (i + 0.5) for i in range(1000))
    return step * sum(1.0 - normal.cdf(x) ** k - normal.cdf(-x) ** k for x in points)


def maximum_quantile(k: int, probability: float) -> float:
    """What the largest of k standard normal numbers stays below with a probability (Šidák)."""
    return NormalDist().inv_cdf(probability ** (1.0 / k))


__all__ = [
    "ALPHA",
    "MIN_PAIRS",
    "Comparison",
    "Verdict",
    "compare",
    "e_values",
    "expected_maximum",
    "maximum_quantile",
    "t_distribution",
    "t_quantile",
]
