"""What stops a training before its end: numbers that are no numbers, losses that run away, and time that runs out.

Every rule but the last is a function of the losses so far, so that a training which resumes is judged as if it had not
been interrupted. Not covered: a training that merely stays bad where no reference curve is given.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from genesys.errors import ConfigError, JobFailed

SPIKE_STEPS = 16
"""So many losses in a row must lie above the threshold: a single bad batch is no spike."""
SPIKE_WINDOW = 64
SPIKE_NATS = 0.5
SPIKE_DEVIATIONS = 8.0
N_SMOOTHED = 20
DIVERGED_AFTER = 0.25
DIVERGED_SHARE, DIVERGED_NATS = 0.25, 0.5
"""The margin over the reference: a quarter of its loss and half a nat, at byte level about the unigram model's loss."""
SLOW_AFTER_STEPS = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Guard:
    """The rules of one training.

    Attributes:
        n_steps, batch_tokens: Of the whole training.
        reference_curve: (tokens, loss in nats) of the reference design at this scale, tokens increasing; empty for none.
        limit_s: Seconds that the whole training may take; 0 for any. Off where a device is shared.
    """

    n_steps: int
    batch_tokens: int
    reference_curve: Sequence[tuple[float, float]] = ()
    limit_s: float = 0.0

    def __post_init__(self) -> None:
        for point in self.reference_curve:
            if not all(map(math.isfinite, point)):
                raise ConfigError(
                    f"Cannot guard a training with reference_curve: it has the point {tuple(point)}; "
                    f"expected finite numbers. Leave it out, or take the curve of a training that ended well."
                )

    def check(self, losses: Sequence[float], gradient_norm: float) -> None:
        """Stop the training if its newest loss, the last of `losses`, or its gradient norm, says so.

        Raises:
            JobFailed: With cause "non-finite", "spike" or "diverged".
        """
        step = len(losses) - 1
        require_finite("loss", losses[-1], step)
        require_finite("gradient norm", gradient_norm, step)
        self._check_spike(losses)
        self._check_reference(losses)

    def check_time(self, *, n_done: int, n_timed: int, seconds: float, seconds_before: float) -> None:
        """Stop the training if it would not end in time.

        Args:
            n_done: Steps done so far.
            n_timed: Those of them that this process took, in `seconds`; too few are not judged.
            seconds_before: What earlier processes of this training spent.

        Raises:
            JobFailed: With cause "slow".
        """
        if not self.limit_s or n_timed < SLOW_AFTER_STEPS:
            return
        projected_s = seconds_before + seconds + (self.n_steps - n_done) * seconds / n_timed
        if not projected_s <= self.limit_s:
            raise JobFailed(
                "slow",
                f"Cannot train on: after {n_done} of {self.n_steps} steps the training would take {projected_s:.0f} s; "
                f"expected at most {self.limit_s:g}. Look for loops over the length in the units.",
            )

    def _check_spike(self, losses: Sequence[float]) -> None:
        recent, before = losses[-SPIKE_STEPS:], losses[-SPIKE_STEPS - SPIKE_WINDOW : -SPIKE_STEPS]
        if len(before) < SPIKE_WINDOW // 2:
            return
        median = float(np.median(before))
        # a normal's standard deviation from the median change: unlike one around the median it is blind to the descent
        deviation = 1.4826 / math.sqrt(2) * float(np.median(np.abs(np.diff(before))))
        threshold = median + max(SPIKE_NATS, SPIKE_DEVIATIONS * deviation)
        lowest = float(np.min(recent))
        if not lowest <= threshold:  # NaN stops it too, and so below
            raise JobFailed(
                "spike",
                f"Cannot train on: the loss was {lowest:.3g} nats or more for {SPIKE_STEPS} steps up to step "
                f"{len(losses) - 1}; expected below {threshold:.3g}, as its median before was {median:.3g}. "
                f"Bound what grows in the units: norms, gates, or a smaller initial output.",
            )

    def _check_reference(self, losses: Sequence[float]) -> None:
        if not self.reference_curve or len(losses) < max(N_SMOOTHED, DIVERGED_AFTER * self.n_steps):
            return
        loss = float(np.mean(losses[-N_SMOOTHED:]))
        tokens, nats = zip(*self.reference_curve, strict=True)
        reference = float(np.interp(len(losses) * self.batch_tokens, tokens, nats))
        limit = (1 + DIVERGED_SHARE) * reference + DIVERGED_NATS
        if not loss <= limit:
            raise JobFailed(
                "diverged",
                f"Cannot train on: the loss after {len(losses) * self.batch_tokens:,} tokens is {loss:.3g} nats; expected "
                f"at most {limit:.3g}, as the reference design has {reference:.3g} there. The design does not learn.",
            )


def require_finite(name: str, value: float, step: int) -> None:
    """Stop the training unless `value` is a finite number.

    Raises:
        JobFailed: With cause "non-finite". Comparisons with NaN are false, so this asks `isfinite` and never `>`.
    """
    if not math.isfinite(value):
        raise JobFailed(
            "non-finite",
            f"Cannot train on: the {name} of step {step} is {value}; expected a finite number. "
            f"Look for a division, a logarithm, an exponential or a square root without a bound in the units.",
        )
