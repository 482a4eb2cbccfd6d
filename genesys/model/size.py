"""Find the width and depth at which a design has the parameters that a scale asks for.

Runs the units' code on the meta device: call it in a caged child process only. Source of the target and of the
tolerances: `docs/design/foundation.md`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import lru_cache

import torch

from genesys.errors import Finding
from genesys.gau import UnitTree
from genesys.gau.library import seed_design
from genesys.ladder import Scale
from genesys.model.build import ModelShape, build_model

ASPECT_RANGE = 2.0  # d_model / n_blocks may leave the scale's own by this factor
MAX_ERROR = 0.20


@dataclass(frozen=True, slots=True, kw_only=True)
class TunedSize:
    """The size of a design at a scale.

    Attributes:
        n_params: All parameters, embedding included; `n_block_params` without embedding and final norm.
        error: Relative distance of `n_block_params` from the target.
    """

    scale: str
    shape: ModelShape
    n_params: int
    n_block_params: int
    target_block_params: int
    error: float
    findings: tuple[Finding, ...] = ()


def tune_size(tree: UnitTree, scale: Scale, vocab_size: int) -> TunedSize:
    """Search (d_model in multiples of `scale.width_step`, n_blocks) for the closest parameter count.

    Returns:
        The nearest size; with a `size-coarse` finding where it misses the scale's tolerance (a warning, an error
        over 20%).
    """
    target = _target(scale, vocab_size)
    counts = _Counter(tree)
    aspect = scale.d_model / scale.n_blocks
    best: tuple[float, int, int, int] | None = None
    refused = 0
    for n_blocks in _nearby(scale.n_blocks, 1, scale.n_blocks * 2):
        for d_model in _widths(scale, counts, n_blocks, target):
            if not aspect / ASPECT_RANGE <= d_model / n_blocks <= aspect * ASPECT_RANGE:
                continue
            n = counts(d_model, n_blocks)
            if n is None:
                refused += 1
                continue
            key = (round(abs(n - target) / target, 6), n_blocks, d_model, n)
            if best is None or _better(key, best, scale):
                best = key
        if best is not None and best[0] <= scale.size_tolerance / 2:
            break
    if best is None:
        counts.raise_last()
    assert best is not None
    error, n_blocks, d_model, n = best
    return TunedSize(
        scale=scale.name,
        shape=ModelShape(vocab_size=vocab_size, d_model=d_model, n_blocks=n_blocks),
        n_params=n + vocab_size * d_model + d_model,
        n_block_params=n,
        target_block_params=target,
        error=error,
        findings=tuple(_findings(tree, scale, error, n, target)),
    )
