"""How this host carries a training out: precision, micro-batches, compilation, ranks. None of it is part of the recipe.

What is chosen depends on the design, the scale and the host alone, never on a clock, so that a training which is
started again chooses again what it had.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor, nn

from genesys.errors import ConfigError, JobFailed
from genesys.train.card import memory_bytes, peak_flops
from genesys.train.compilation import CompileRequest, compile_blocks, pays_back
from genesys.train.engine import zero_stage
from genesys.train.loss import NextTokenLoss, Precision
from genesys.train.world import Rank

PrecisionRequest = Literal["auto", "fp32", "bf16"]
_MIB = 2**20


@dataclass(frozen=True, slots=True, kw_only=True)
class Means:
    """What a training may ask of its host.

    Attributes:
        precision: "auto" is bf16 on a card that has it, else fp32.
        compile: "auto" compiles where it pays back; see `pays_back`.
        memory_mb: What one rank may fill; None for all of a card, and for whole batches on a CPU.
        gpu_share: Of a card's memory that one rank may fill, above 0 and up to 1; of no account on a CPU.
    """

    precision: PrecisionRequest = "auto"
    compile: CompileRequest = "auto"
    memory_mb: float | None = None
    gpu_share: float = 1.0

    def __post_init__(self) -> None:
        if not 0 < self.gpu_share <= 1:
            raise ConfigError(f"Cannot train with gpu_share {self.gpu_share!r}; expected a number above 0 and up to 1.")
        for name, value, known in (
            ("dtype", self.precision, get_args(PrecisionRequest)),
            ("compile", self.compile, get_args(CompileRequest)),
        ):
            if value not in known:
                raise ConfigError(f"Cannot train with {name} {value!r}; expected one of {', '.join(known)}.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Execution:
    """What was chosen.

    Attributes:
        micro_batch_rows, n_accumulation: Rows of one pass on one rank, and passes in a step.
        compiled: "yes", or "no: " and why not.
        flops_per_row: FLOPs of a pass forward and backward over one row, as counted by torch's FlopCounterMode:
            products, convolutions and attention (all of the square, also where it is causal; recomputed scores count
            again), not elementwise operations, sums, scans and FFTs, nor the optimizer.
        model_flops_per_row: Three times the forward pass: what the mathematics needs, nothing recomputed.
    """

    dtype: Precision
    micro_batch_rows: int
    n_accumulation: int
    zero_stage: int
    compiled: str
    flops_per_row: int
    model_flops_per_row: int


def choose_execution(
    loss: NextTokenLoss, rows_BL: Tensor, rank: Rank, means: Means, *, batch_rows: int, n_steps: int
) -> Execution:
    """Choose, trying the passes on real rows; the model's parameters and buffers are left as they were.

    Args:
        loss: The model, on the device of this rank.
        rows_BL: Rows of the batch's length on that device, as many as a rank has in a step.
        batch_rows: Rows in a step of all ranks together.

    Raises:
        ConfigError: The batch cannot be shared out among the ranks.
        JobFailed: Not even one row fits (cause "out-of-memory"), or whatever the units' code raises.
    """
    n_params, rank_rows = sum(p.numel() for p in loss.parameters()), batch_rows // rank.count
    memory = _claim_memory(rows_BL.device, means)
    with _unchanged(loss):
        forward, both = _flops(loss, rows_BL[:1])
        micro = rank.least(_micro_batch_rows(loss, rows_BL, means, memory), rows_BL.device)
        compiled = _compile(loss, rows_BL[:micro], means, total_flops=both * rank_rows * n_steps)
    return Execution(
        dtype=loss.precision,
        micro_batch_rows=micro,
        n_accumulation=rank_rows // micro,
        zero_stage=zero_stage(n_params, rank.count, memory),
        compiled=compiled,
        flops_per_row=both,
        model_flops_per_row=3 * forward,
    )


def rows_of_rank(batch_rows: int, n_ranks: int) -> int:
    """Rows of a step that each rank takes.

    Raises:
        ConfigError: They cannot be shared out evenly.
    """
    if batch_rows % n_ranks:
        raise ConfigError(
            f"Cannot train on {n_ranks} processes: a batch has {batch_rows} rows; expected a multiple of n_processes."
        )
    return batch_rows // n_ranks


def choose_precision(request: PrecisionRequest, device: torch.device) -> Precision:
    """The precision that the request gets on this device."""
    if request == "auto":
        return "bf16" if device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False) else "fp32"
    return request


def micro_batch_sizes(n_rows: int) -> Iterator[int]:
    """Sizes to try, largest first: the rows halved as long as they are even, and at last one row."""
    size = n_rows
    while size % 2 == 0:
        yield size
        size //= 2
    yield size
    if size > 1:
        yield 1


def _claim_memory(device: torch.device, means: Means) -> float:
    """Bytes that this rank may fill; on a card it gets no more from here on."""
    whole = memory_bytes(device)
    if device.type != "cuda":
        return means.memory_mb * _MIB if means.memory_mb else whole
    share = min(means.gpu_share, means.memory_mb * _MIB / whole if means.memory_mb else 1.0)
    if share < 1:
        torch.cuda.set_per_process_memory_fraction(share, device)
    return share * whole


@contextmanager
def _unchanged(model: nn.Module) -> Iterator[None]:
    """Take gradients back, and what passes wrote into buffers."""
    buffers = [buffer.clone() for buffer in model.buffers()]
    try:
        yield
    finally:
        model.zero_grad(set_to_none=True)
        with torch.no_grad():
            for buffer, before in zip(model.buffers(), buffers, strict=True):
                buffer.copy_(before)


def _flops(loss: NextTokenLoss, rows_BL: Tensor) -> tuple[int, int]:
    """Count FLOPs, in float32 from here on if the units do something that bf16 has no kernel for (FFTs, some solvers)."""
    if loss.precision == "bf16":
        try:
            return _count_flops(loss, rows_BL)
        except (RuntimeError, TypeError) as error:
            if isinstance(error, torch.OutOfMemoryError):
                raise
            loss.precision = "fp32"
    return _count_flops(loss, rows_BL)


def _count_flops(loss: NextTokenLoss, rows_BL: Tensor) -> tuple[int, int]:
    """FLOPs of the forward pass, and of forward and backward together."""
    from torch.utils import flop_counter

    on_cpu = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu  # those of cards it knows
    more = {
        on_cpu: lambda q, k, v, *_, **__: flop_counter.sdpa_flop_count(q, k, v),
        torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward: (
            lambda grad, q, k, v, *_, **__: flop_counter.sdpa_backward_flop_count(grad, q, k, v)
        ),
    }
    with flop_counter.FlopCounterMode(display=False, custom_mapping=more) as counter:
        value = loss.whole(rows_BL)
        forward = counter.get_total_flops()
        value.backward()
    return forward, counter.get_total_flops()


def _micro_batch_rows(loss: NextTokenLoss, rows_BL: Tensor, means: Means, memory: float) -> int:
    """The largest micro-batch that fits."""
    if rows_BL.device.type != "cuda":
        return _fitting_rows(loss, rows_BL, means.memory_mb) if means.memory_mb else len(rows_BL)
    # AdamW's moments come into being with the first step
    moments = torch.empty(8 * sum(p.numel() for p in loss.parameters()), dtype=torch.uint8, device=rows_BL.device)
    for size in micro_batch_sizes(len(rows_BL)):
        try:
            loss(rows_BL[:size]).backward()
        except torch.OutOfMemoryError:
            continue
        finally:
            loss.zero_grad(set_to_none=True)
            torch.cuda.empty_cache()
        del moments
        return size
    raise _nothing_fits(memory / _MIB)


def _fitting_rows(loss: NextTokenLoss, rows_BL: Tensor, memory_mb: float) -> int:
    """The largest micro-batch whose kept activations fit beside weights, gradients and moments, by one row's."""
    kept: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        loss(rows_BL[:1]).backward()
    own_bytes = {p.untyped_storage().data_ptr() for p in loss.parameters()}
    row_bytes = sum(n for place, n in kept.items() if place not in own_bytes)
    left = memory_mb * _MIB - 16 * sum(p.numel() for p in loss.parameters())
    for size in micro_batch_sizes(len(rows_BL)):
        if size * row_bytes <= left:
            return size
    raise _nothing_fits(memory_mb)


def _nothing_fits(memory_mb: float) -> JobFailed:
    return JobFailed(
        "out-of-memory",
        f"Cannot train on: one row does not fit into {memory_mb:.0f} MB with weights, gradients and moments; "
        f"expected at least one. Lower the widths inside the units.",
    )


def _compile(loss: NextTokenLoss, rows_BL: Tensor, means: Means, *, total_flops: float) -> str:
    if means.compile == "off":
        return "no: switched off"
    peak = peak_flops(rows_BL.device) if rows_BL.device.type == "cuda" else None
    if means.compile == "auto" and not pays_back(total_flops, rows_BL.device.type, peak):
        return "no: it would take longer than it saves"
    return compile_blocks(loss, rows_BL)
