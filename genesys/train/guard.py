"""What stops a training: numbers that are no numbers."""

from __future__ import annotations

import math

from genesys.errors import JobFailed


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
