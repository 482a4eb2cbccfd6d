"""What a design computes, in a few digits: equal for twins, whatever their texts. Runs generated code: caged children only.

Everything is taken in float64 on weights perturbed from their initial values, since a zero-initialised branch computes
nothing at first: outputs in both modes, gradients of the inputs and parameter counts at two widths or more, and outputs at
the longest context of the ladder. Not covered: what differs only at sizes and lengths that the ladder does not have.

Shapes: B batch, L length, D model width, K projections.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from genesys.checker.specimen import gradient_of, inputs, precise_model, seeded
from genesys.gau import UnitTree
from genesys.ladder import Scale
from genesys.model import GAM, TunedSize, gam

MAX_WIDTH, MAX_CONTEXT = 1024, 4096
SKETCH_WIDTH, SKETCH_LENGTH = 64, 32
N_DIGITS = 8
"""Of each number, relative to the tensor's size. Reordered sums differ in the 15th digit and, where they are amplified, the
12th; another `eps` of a norm shows in the 6th."""

_N_PROJECTIONS, _N_SKETCHED = 8, 32
_ROWS, _LENGTH = 2, 19


@dataclass(frozen=True, slots=True, kw_only=True)
class Behaviour:
    """What a design computes.

    Attributes:
        fingerprint: 64 hexadecimal digits; "" where it could not be taken.
        sketch: Random projections of its normalised outputs at one width, the same for every design: as far apart as the
            outputs are. Empty where it cannot be built at that width.
    """

    fingerprint: str = ""
    sketch: tuple[float, ...] = ()

    def to_json(self) -> dict[str, Any]:
        return {"fingerprint": self.fingerprint, "sketch": list(self.sketch)}


def behaviour(tree: UnitTree, sizes: Sequence[TunedSize], scales: Sequence[Scale]) -> Behaviour:
    """Take a sane design's fingerprint and sketch.

    Args:
        sizes: Its sizes at the scales; twins share them.

    Raises:
        Exception: Whatever the design's code raises at these sizes.
    """
    context = max(scale.context for scale in scales)
    found = [json.dumps([(s.scale, s.shape.d_model, s.shape.n_blocks, s.n_params) for s in sizes])]
    widths = sorted({min(size.shape.d_model, MAX_WIDTH) for size in sizes})
    for width in widths if len(widths) > 1 else (widths[0], widths[0] + scales[0].width_step):
        found += _digits_at_width(tree, width, context if width == widths[0] else 0)
    digest = hashlib.sha256("\n".join(found).encode()).hexdigest()
    return Behaviour(fingerprint=digest if context <= MAX_CONTEXT else "", sketch=_sketch(tree))


def _digits_at_width(tree: UnitTree, width: int, context: int) -> Iterator[str]:
    model, dtype = _specimen(tree, width)
    x_BLD = inputs(_ROWS, _LENGTH, width, dtype).requires_grad_()
    yield f"{model.n_params()} parameters"
    for mode in ("eval", "train"):
        model.train(mode == "train")
        with seeded(5):
            y_BLD = model.hidden(x_BLD)
        yield from (_digits(y_BLD), _digits(gradient_of(y_BLD, x_BLD)))
    if context:
        with torch.no_grad(), seeded(5):
            yield _digits(model.eval().hidden(inputs(1, context, width, dtype)))


def _specimen(tree: UnitTree, width: int) -> tuple[GAM, torch.dtype]:
    with _streams_of_weights_only():
        return precise_model(tree, width)


@contextmanager
def _streams_of_weights_only() -> Iterator[None]:
    """Initial weights by their order among the weights that are drawn, and by shape.

    A model counts all units and modules, so that a wrapper without weights would change the weights of all that follow.
    """
    counted, n_drawn = gam._stream, 0

    def stream(seed: int, order: int, shape: tuple[int, ...]) -> int:
        nonlocal n_drawn
        n_drawn += bool(shape)
        return counted(seed, n_drawn if shape else 0, shape)

    gam._stream = stream
    try:
        yield
    finally:
        gam._stream = counted


def _digits(tensor: Tensor) -> str:
    """A tensor's size and some random projections of it, rounded."""
    flat = tensor.detach().double().flatten()
    size = float(flat.square().mean().sqrt())
    if not 0.0 < size < math.inf:
        return f"{size}"
    projected_K = _projections(flat, _N_PROJECTIONS) / size
    return " ".join(
        [f"{size:.{N_DIGITS - 1}e}", *(f"{round(p, N_DIGITS) + 0.0:.{N_DIGITS}f}" for p in projected_K.tolist())]
    )


def _projections(flat: Tensor, n: int) -> Tensor:
    """Products with n random directions, each N(0, 1) where the numbers have mean square 1; a row at a time, to save memory."""
    generator = torch.Generator().manual_seed(flat.numel())
    rows = (torch.randn(flat.numel(), generator=generator, dtype=torch.float64) for _ in range(n))
    return torch.stack([flat @ row for row in rows]) / math.sqrt(flat.numel())


def _sketch(tree: UnitTree) -> tuple[float, ...]:
    try:
        model, dtype = _specimen(tree, SKETCH_WIDTH)
        with torch.no_grad(), seeded(5):
            y_BLD = model.norm(model.eval().hidden(inputs(1, SKETCH_LENGTH, SKETCH_WIDTH, dtype)))
    except Exception:  # a width that is none of the ladder's, so that its failure says nothing against the design
        return ()
    projected = [round(value, 4) for value in _projections(y_BLD.double().flatten(), _N_SKETCHED).tolist()]
    return tuple(projected) if all(map(math.isfinite, projected)) else ()
