"""The learning rate over a run."""

from __future__ import annotations

import math
from dataclasses import dataclass

WARMUP_SHARE = 0.02
FINAL_SHARE = 0.10


@dataclass(frozen=True, slots=True, kw_only=True)
class CosineSchedule:
    """Linear warm-up over the first 2% of the steps, then a cosine down to 10% of the peak.

    Source: the recipe of Cheng et al. 2025.
    """

    peak_lr: float
    n_steps: int

    def lr(self, step: int) -> float:
        """The rate of step `step`, which counts from 0."""
        n_warmup = max(1, math.ceil(WARMUP_SHARE * self.n_steps))
        if step < n_warmup:
            return self.peak_lr * (step + 1) / n_warmup
        progress = (step - n_warmup) / max(1, self.n_steps - 1 - n_warmup)
        cosine = 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))
        return self.peak_lr * (FINAL_SHARE + (1 - FINAL_SHARE) * cosine)
