"""Stage 4: no output may depend on a later input or on another row. Runs generated code: caged child processes only.

Three ways to see the future, each blind to something the others find: gradients (blind to steps such as `sign`), values with
another future in its place (blind to what cancels), and rows cut short (the only one that sees a rule by length).

Not covered: a leak at a length, width or depth that is neither drawn here nor asked for in `shapes`. The trusted scorer of a
verification therefore looks again at the trained weights.

Shapes: B batch, L length, D model width.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import chain, cycle, islice
from random import Random
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from genesys.checker.rules import RULES
from genesys.checker.specimen import (
    gradient_of,
    inputs,
    precise_model,
    random_like,
    secret_lengths,
    seeded,
    small_model,
    tokens,
)
from genesys.errors import Finding
from genesys.gau import UnitTree
from genesys.model import GAM

TOLERANCE = {torch.float64: 1e-10, torch.float32: 1e-5, torch.bfloat16: 0.1}
MAGNITUDES = (1.0, 100.0, -1.0, 0.01)  # of what replaces the future; -1 turns the old future's sign
N_ROWS = 4
TRAINED_EMBEDDING_STD = 0.05  # between those of the ladders

Shape = tuple[int, int, int]
"""A model to look at: (d_model, n_blocks, length)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Leak:
    """An effect that should not be: of a later input, of another row, or of the length."""

    rule: str
    size: float
    tolerance: float
    where: str

    def finding(self, unit: str) -> Finding:
        cause = {"causality": "the future", "batch": "another row of the batch", "length": "the rest of the row"}[
            self.rule
        ]
        measured = f"{cause} moves an output by {self.size:.1e} of what the inputs before it do ({self.where})"
        return RULES[self.rule].finding(measured, f"at most {self.tolerance:.0e}", unit=unit)


def check_causality(tree: UnitTree, d_model: int, *, shapes: Iterable[Shape] = ()) -> list[Finding]:
    """Look for leaks in the whole model, in train and eval mode, at lengths of which some are drawn for this design alone.

    Args:
        d_model: Width at which to look closely, with two blocks.
        shapes: The (d_model, n_blocks, length) that will be trained, looked at by values only, in float32 and bfloat16.

    Returns:
        The first leak, if any.
    """
    model, dtype = precise_model(tree, d_model)
    trained = tuple(dict.fromkeys(shapes)) or ((d_model, 2, 32),)
    looks = chain(above_noise(_close_look(tree, model, dtype), model), *(_as_trained(tree, shape) for shape in trained))
    return [leak.finding(tree.unit.name) for leak in islice(looks, 1)]


def leaks(model: GAM, length: int, dtype: torch.dtype, *, where: str, seed: int = 0) -> Iterator[Leak]:
    """Leaks by value at one length, in the model's present mode."""
    width = model.embedding.embedding_dim
    x_BLD = inputs(_n_rows(length), length, width, dtype, seed=seed)
    yield from _leaks_by_value(model.hidden, x_BLD, Random(f"{length}/{seed}"), TOLERANCE[dtype], where)


def above_noise(found: Iterable[Leak], model: GAM) -> Iterator[Leak]:
    """Leaks but those that float32 inside a unit explains: a correct convolution by FFT leaks 3e-8 there."""
    for leak in found:
        if leak.size > TOLERANCE[torch.float32] or not _narrows(model):
            yield leak


def _narrows(model: GAM) -> bool:
    """Whether a model of any number format computes in another one than float64."""
    formats = _Formats()
    with torch.no_grad(), formats:
        model.hidden(inputs(1, 5, model.embedding.embedding_dim, model.embedding.weight.dtype))
    return formats.narrow


class _Formats(TorchDispatchMode):
    """Notes whether any operation gives numbers below float64."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.narrow: bool = False

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        for part in out if isinstance(out, (tuple, list)) else (out,):
            if isinstance(part, Tensor) and part.dtype in (
                torch.float32,
                torch.complex64,
                torch.bfloat16,
                torch.float16,
            ):
                self.narrow = True
        return out


def _close_look(tree: UnitTree, model: GAM, dtype: torch.dtype) -> Iterator[Leak]:
    first, second, third = secret_lengths(tree, 3)
    for mode, lengths in (("train", (2, 16, first)), ("eval", (3, second, 65))):
        model.train(mode == "train")
        yield from _leaks_between_rows(model, first // 3, dtype, mode)
        for length in lengths:
            with torch.set_grad_enabled(
                mode == "train" and length == 16
            ):  # a design may ask whether gradients are wanted
                yield from leaks(model, length, dtype, where=f"{mode} mode, L={length}")
    yield from _leaks_by_gradient(model.train(), third, dtype, "train")
    yield from _leaks_by_length(model, (1, 3, second, third), dtype)


def _as_trained(tree: UnitTree, shape: Shape) -> Iterator[Leak]:
    """Leaks of the whole model on tokens, in the number formats and with the calls of training and evaluation."""
    d_model, n_blocks, length = shape
    model = small_model(tree, d_model, n_blocks=n_blocks)
    with torch.no_grad():
        model.embedding.weight.mul_(TRAINED_EMBEDDING_STD)
    for dtype, training in ((torch.float32, True), (torch.float32, False), (torch.bfloat16, False)):
        model.train(training).to(dtype)
        name = f"{str(dtype).removeprefix('torch.')}, {'train' if training else 'eval'} mode"
        with torch.set_grad_enabled(training):
            yield from _leaks_in_logits(
                model, length, TOLERANCE[dtype], f"D={d_model}, {n_blocks} blocks, L={length}, {name}"
            )


def _leaks_in_logits(model: GAM, length: int, tolerance: float, where: str) -> Iterator[Leak]:
    cuts = [length // 2, 0, length - 2][: _n_rows(length)]
    tokens_BL = tokens(len(cuts), length, seed=5)
    changed_BL = tokens_BL.clone()
    for row, t in enumerate(cuts):
        changed_BL[row, t + 1 :] = tokens(1, length, seed=9 + row)[0, t + 1 :]
    yield from _compare(model, tokens_BL, changed_BL, cuts, tolerance, where)


def _n_rows(length: int) -> int:
    """Many short rows, few long ones: a design may behave well in small batches only."""
    return max(2, min(32, 96 // length))


def _leaks_by_value(
    run: Callable[[Tensor], Tensor], x_BLD: Tensor, rng: Random, tolerance: float, where: str
) -> Iterator[Leak]:
    n_rows, length = x_BLD.shape[:2]
    cuts = [rng.randrange(length - 1), 0, length - 2, *(rng.randrange(length - 1) for _ in range(n_rows))][:n_rows]
    magnitudes = cycle(rng.sample(MAGNITUDES, len(MAGNITUDES)))
    changed_BLD = x_BLD.clone()
    noise_BLD = random_like(x_BLD, seed=rng.randrange(1 << 30))
    for row, (t, magnitude) in enumerate(zip(cuts, magnitudes, strict=False)):
        future = x_BLD if magnitude == -1 else noise_BLD
        if x_BLD.dtype != torch.float64:
            magnitude = min(magnitude, 1.0)  # a correct convolution by FFT leaks 3e-8 of what is largest there
        changed_BLD[row, t + 1 :] = magnitude * future[row, t + 1 :]
    yield from _compare(run, x_BLD, changed_BLD, cuts, tolerance, where)


def _compare(
    run: Callable[[Tensor], Tensor], x: Tensor, changed: Tensor, cuts: list[int], tolerance: float, where: str
) -> Iterator[Leak]:
    """Leaks that show in the past of each row when its future is another; random numbers are the same in both calls."""
    with seeded(11):
        y_BLD = run(x).detach()
    with seeded(11):
        moved_BLD = run(changed).detach() - y_BLD
    past_BL = torch.arange(x.shape[1]) <= torch.tensor(cuts)[:, None]
    leak = Leak(rule="causality", size=_ratio(moved_BLD[past_BL], y_BLD), tolerance=tolerance, where=where)
    if not leak.size <= tolerance:
        yield leak


def _leaks_by_length(model: GAM, lengths: tuple[int, ...], dtype: torch.dtype) -> Iterator[Leak]:
    """Outputs of rows cut short must equal those of the full row. Eval mode: random numbers depend on the shape."""
    model.eval()
    full = max(*lengths, 65)
    x_BLD = inputs(1, full, model.embedding.embedding_dim, dtype, seed=2)
    with torch.no_grad():
        y_BLD = model.hidden(x_BLD)
        for length in lengths:
            size = _ratio(model.hidden(x_BLD[:, :length]) - y_BLD[:, :length], y_BLD)
            if not size <= TOLERANCE[dtype]:
                yield Leak(rule="length", size=size, tolerance=TOLERANCE[dtype], where=f"L={length} against L={full}")


def _leaks_by_gradient(model: GAM, length: int, dtype: torch.dtype, mode: str) -> Iterator[Leak]:
    x_BLD = inputs(N_ROWS, length, model.embedding.embedding_dim, dtype, seed=4).requires_grad_()
    cuts = torch.tensor([0, 1, length // 2, length - 2])
    y_BLD = model.hidden(x_BLD)
    grad_BLD = gradient_of(y_BLD[torch.arange(N_ROWS), cuts], x_BLD)
    future_BL = torch.arange(length) > cuts[:, None]
    size = _largest(grad_BLD[future_BL]) / max(_largest(grad_BLD[~future_BL]), 1e-300)
    if not size <= TOLERANCE[dtype]:
        yield Leak(
            rule="causality", size=size, tolerance=TOLERANCE[dtype], where=f"{mode} mode, L={length}, by gradient"
        )


def _leaks_between_rows(model: GAM, length: int, dtype: torch.dtype, mode: str) -> Iterator[Leak]:
    """Half of the rows change, in random content and by gradient; the others must not notice."""
    n_rows, where = 5, f"{mode} mode, B=5, L={length}"
    half = torch.tensor([True, False, True, False, False])
    x_BLD = inputs(n_rows, length, model.embedding.embedding_dim, dtype, seed=6).requires_grad_(mode == "train")
    with seeded(12):
        y_BLD = model.hidden(x_BLD)
    for changing in (half, ~half):
        changed_BLD = x_BLD.detach().clone()
        changed_BLD[changing] = random_like(changed_BLD, seed=13)[changing] * 3
        with seeded(12):
            moved_BLD = model.hidden(changed_BLD).detach() - y_BLD.detach()
        size = _ratio(moved_BLD[~changing], y_BLD.detach())
        if mode == "train":
            grad_BLD = gradient_of(y_BLD[~changing], x_BLD)
            size = max(size, _largest(grad_BLD[changing]) / max(_largest(grad_BLD), 1e-300))
        if not size <= TOLERANCE[dtype]:
            yield Leak(rule="batch", size=size, tolerance=TOLERANCE[dtype], where=where)


def _ratio(effect: Tensor, y_BLD: Tensor) -> float:
    """Largest |effect| over how much its channel varies with the inputs; infinite where that is no number.

    By channel, so that channels made huge do not hide a leak in another; a channel that hardly varies counts as a thousandth of
    the median one, or as that one where rounding would show.
    """
    if not effect.numel():
        return 0.0
    varies_D = y_BLD.flatten(0, -2).double().std(0)
    floor = varies_D.median() * (1e-3 if y_BLD.dtype == torch.float64 else 1.0)
    ratio = float((effect.abs().flatten(0, -2).amax(0) / varies_D.clamp(min=floor.clamp(min=1e-300))).max())
    return ratio if math.isfinite(ratio) else math.inf


def _largest(values: Tensor) -> float:
    largest = float(values.detach().abs().max()) if values.numel() else 0.0
    return largest if math.isfinite(largest) else math.inf
