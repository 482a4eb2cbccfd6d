"""What a training step of a model costs, counted rather than timed. Runs generated code: caged child processes only.

Shapes: B batch, L length. Everything counted is the same on every machine and at every load, which times are not.
Not covered: work inside one operator beyond its output's elements (a sort counts as its output), and memory that an
operator takes and gives back before it returns.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from types import FrameType
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

Place = tuple[str, int]
"""The file name of a unit's code and a line in it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StepCost:
    """One forward and backward pass.

    Attributes:
        flops: Of matrix products, convolutions and attention, as torch counts them.
        n_elements: Numbers written by all operators that are not views.
        n_ops: Operators called.
        ops_by_place: The same, by the innermost line of generated code that called them.
        memory_bytes: Kept for the backward pass, with the largest single tensor on top.
    """

    flops: int
    n_elements: int
    n_ops: int
    ops_by_place: Counter[Place]
    memory_bytes: int


def step_cost(model: nn.Module, tokens_BL: Tensor) -> StepCost:
    """Count one step on `tokens_BL`; leaves no gradients behind."""
    saved: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        saved[storage.data_ptr()] = storage.nbytes()
        return tensor

    flops, counter = FlopCounterMode(display=False), OperatorCounter()
    with flops, counter:
        _step(model, tokens_BL, keep)
    return StepCost(
        flops=flops.get_total_flops(),
        n_elements=counter.n_elements,
        n_ops=sum(counter.by_place.values()),
        ops_by_place=counter.by_place,
        memory_bytes=sum(saved.values()) + counter.largest_bytes,
    )


def ops_by_place(model: nn.Module, tokens_BL: Tensor) -> Counter[Place]:
    """The operators of one step by the innermost line of generated code that called them."""
    counter = OperatorCounter()
    with counter:
        _step(model, tokens_BL, lambda tensor: tensor)
    return counter.by_place


def _step(model: nn.Module, tokens_BL: Tensor, keep: Callable[[Tensor], Tensor]) -> None:
    with sdpa_kernel(SDPBackend.MATH):  # torch counts no FLOPs for the fused attention of the CPU: it is spelt out
        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            loss = model(tokens_BL).float().logsumexp(-1).mean()
        loss.backward()
    model.zero_grad(set_to_none=True)


class OperatorCounter(TorchDispatchMode):
    """Counts the operators that run under it, their outputs' elements, and who called them."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.by_place: Counter[Place] = Counter()
        self.n_elements = self.largest_bytes = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        out = func(*args, **(kwargs or {}))
        self.by_place[_place(sys._getframe(1))] += 1
        if not func.is_view:
            for tensor in out if isinstance(out, (tuple, list)) else (out,):
                if isinstance(tensor, Tensor):
                    self.n_elements += tensor.numel()
                    self.largest_bytes = max(self.largest_bytes, tensor.numel() * tensor.element_size())
        return out


def _place(frame: FrameType | None) -> Place:
    while frame is not None:
        if frame.f_code.co_filename.startswith("<unit "):
            return frame.f_code.co_filename, frame.f_lineno
        frame = frame.f_back
    return "", 0


def growth_place(before: Counter[Place], after: Counter[Place]) -> Place:
    """The line of generated code whose operators became most; ("", 0) when none is known."""
    grown = {place: count - before[place] for place, count in after.items() if place[0]}
    return max(grown, key=grown.__getitem__, default=("", 0))


def n_rises(n_ops: Sequence[int]) -> int:
    """How many of the steps from one length to the next raise the number of operators.

    A loop over positions raises it at each; a loop over chunks of C positions at one of C; a scan by doubling at
    the powers of two; whole-sequence operations never.
    """
    return sum(after > before for before, after in pairwise(n_ops))
