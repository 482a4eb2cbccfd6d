"""Find the width and depth at which a design has the parameters that a scale asks for.

Runs the units' code on the meta device: call it in a caged child process only. Source of the target and of the
tolerances: `docs/design/foundation.md`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import torch

from genesys.errors import Finding
from genesys.gau import UnitTree
from genesys.ladder.scale import DEPTH_RANGE, Scale
from genesys.model.build import ModelShape, build_model

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


def tune_sizes(tree: UnitTree, scales: Iterable[Scale], vocab_size: int) -> tuple[TunedSize, ...]:
    """Search (d_model in multiples of `scale.width_step`, n_blocks) for the closest parameter count at each scale.

    Returns:
        The nearest sizes; with a `size-coarse` finding where one misses its scale's tolerance (a warning; an error
        over 20%).

    Raises:
        Exception: What the design's own code raises, when it builds at no width at all.
    """
    count = _BlockCounter(tree)
    return tuple(_tune(count, scale, vocab_size) for scale in scales)


def _tune(count: _BlockCounter, scale: Scale, vocab_size: int) -> TunedSize:
    target = scale.target_block_params
    best: tuple[float, int, int, int] | None = None  # error, d_model, n_blocks, parameters
    for n_blocks in _depths(scale):
        for d_model in _widths(count, scale, n_blocks, target):
            n_params = count(d_model, n_blocks)
            if n_params is None:
                continue
            error = abs(n_params - target) / target
            if best is None or error < best[0] - 1e-9:
                best = (error, d_model, n_blocks, n_params)
        if best is not None and best[0] <= scale.size_tolerance / 2:
            break
    if best is None:
        raise count.last_error or ValueError(f"the design has no size near scale {scale.name!r}")
    error, d_model, n_blocks, n_params = best
    return TunedSize(
        scale=scale.name,
        shape=ModelShape(vocab_size=vocab_size, d_model=d_model, n_blocks=n_blocks),
        n_params=n_params + vocab_size * d_model + d_model,
        n_block_params=n_params,
        target_block_params=target,
        error=error,
        findings=tuple(_findings(count.tree, scale, error, n_params, target)),
    )


class _BlockCounter:
    """Parameters of a design's blocks at (d_model, n_blocks), from models of a few blocks on the meta device.

    The count is taken to be linear in the depth, which tied slots and most layer-dependent designs obey; one that
    does not is counted in full.
    """

    def __init__(self, tree: UnitTree) -> None:
        self.tree = tree
        self.last_error: Exception | None = None
        self._by_width: dict[int, tuple[int, int, bool] | None] = {}

    def __call__(self, d_model: int, n_blocks: int) -> int | None:
        """The count, or None where the design does not build; `last_error` then says why."""
        if d_model not in self._by_width:
            self._by_width[d_model] = self._measure(d_model)
        measured = self._by_width[d_model]
        if measured is None:
            return None
        first, step, is_linear = measured
        return first + step * (n_blocks - 1) if is_linear else self._count(d_model, n_blocks)

    def _measure(self, d_model: int) -> tuple[int, int, bool] | None:
        try:
            one, two = self._count(d_model, 1), self._count(d_model, 2)
            is_linear = self._is_linear(d_model, one, two)
        except Exception as error:
            self.last_error = error
            return None
        return one, two - one, is_linear

    def _is_linear(self, d_model: int, one: int, two: int) -> bool:
        known = next((m for m in self._by_width.values() if m is not None), None)
        return known[2] if known is not None else self._count(d_model, 4) == one + 3 * (two - one)

    def _count(self, d_model: int, n_blocks: int) -> int:
        shape = ModelShape(vocab_size=1, d_model=d_model, n_blocks=n_blocks)
        try:
            with torch.device("meta"):
                model = build_model(self.tree, shape)
        except RuntimeError:  # the constructor reads a tensor's values, which meta tensors lack
            model = build_model(self.tree, shape)
        return model.n_params() - 2 * d_model


def _depths(scale: Scale) -> list[int]:
    """Depths to try, the scale's own first, then one block off, two, three."""
    offsets = (0, *(offset for off in range(1, DEPTH_RANGE + 1) for offset in (-off, off)))
    return [scale.n_blocks + offset for offset in offsets if scale.n_blocks + offset >= 1]


def _widths(count: _BlockCounter, scale: Scale, n_blocks: int, target: int) -> list[int]:
    """Widths around the one that hits the target, found by a secant step on parameters ~ width^2."""
    step, (lowest, highest) = scale.width_step, scale.widths(n_blocks)
    d_model = min(max(scale.d_model, lowest), highest)
    for _ in range(3):
        n_params = count(d_model, n_blocks)
        if not n_params:
            break
        nearest = step * max(1, round(d_model * math.sqrt(target / n_params) / step))
        if nearest == d_model:
            break
        d_model = min(max(nearest, lowest), highest)
    around = (d_model, d_model - step, d_model + step, d_model - 2 * step, d_model + 2 * step)
    return [d for d in around if lowest <= d <= highest]


def _findings(tree: UnitTree, scale: Scale, error: float, n_params: int, target: int) -> Iterator[Finding]:
    if error > scale.size_tolerance:
        yield Finding(
            rule="size-coarse",
            unit=tree.unit.name,
            measured=f"{n_params:,} parameters in the blocks at scale {scale.name}",
            required=f"{target:,} within {scale.size_tolerance:.0%}",
            hint="Make the parameter count grow smoothly with the width d.",
            severity="error" if error > MAX_ERROR else "warning",
        )
