"""One DeepSpeed engine in a process of its own. The only place that imports deepspeed."""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from genesys.train.world import Rank

BETAS = (0.9, 0.999)
EPSILON = 1e-8
CLIP_NORM = 1.0


class Engine:
    """Steps one model: backward passes, clipping, AdamW without weight decay, checkpoints.

    Clipping happens here and not inside DeepSpeed, which throws the norm away at ZeRO stage 0; the guard needs it. At
    higher stages no rank has the whole gradient, and DeepSpeed does both.

    Args:
        model: Gives the loss of rows of tokens; lies on the device of this rank.
        n_accumulation: Micro-batches in a step of this rank.
        micro_batch_rows: Rows in each.
    """

    def __init__(self, model: nn.Module, rank: Rank, *, micro_batch_rows: int, n_accumulation: int, zero: int) -> None:
        parameters = [p for p in model.parameters() if p.requires_grad]
        on_card = parameters[0].device.type == "cuda"
        deepspeed = _import_deepspeed("cuda" if on_card else "cpu")
        optimizer = torch.optim.AdamW(
            parameters, lr=0.0, betas=BETAS, eps=EPSILON, weight_decay=0.0, fused=True if on_card else None
        )
        config = {
            "train_batch_size": micro_batch_rows * n_accumulation * rank.count,
            "train_micro_batch_size_per_gpu": micro_batch_rows,
            "gradient_accumulation_steps": n_accumulation,
            "gradient_clipping": CLIP_NORM if zero else 0.0,
            "zero_optimization": {"stage": zero},
            "zero_allow_untested_optimizer": True,
            "zero_force_ds_cpu_optimizer": False,
            "steps_per_print": 10**9,
            "wall_clock_breakdown": False,
        }
        with _scalars_as_vectors(parameters):
            self._engine, self._optimizer, _, _ = deepspeed.initialize(
                model=model, optimizer=optimizer, config=config, dist_init_required=False
            )
        self._engine.enable_backward_allreduce = rank.count > 1  # alone it would copy all gradients to and fro
        self._parameters, self._zero = parameters, zero

    def step(self, micro_batches: Sequence[Tensor], *, lr: float) -> tuple[Tensor, Tensor]:
        """Take one optimizer step; gives this rank's mean loss and the norm of the whole gradient before clipping."""
        losses = []
        for group in self._optimizer.param_groups:
            group["lr"] = lr
        for i, rows_BL in enumerate(micro_batches, start=1):
            loss = self._engine(rows_BL)
            self._engine.backward(loss)
            losses.append(loss.detach())
            if i == len(micro_batches) and not self._zero:
                norm = nn.utils.clip_grad_norm_(self._parameters, CLIP_NORM)
            self._engine.step()  # between micro-batches it counts, and no more
        if self._zero:
            norm = torch.as_tensor(self._engine.get_global_grad_norm(), device=losses[0].device)
        return torch.stack(losses).mean() if len(losses) > 1 else losses[0], norm

    def save(self, folder: Path) -> None:
        """Write weights and optimizer state into `folder` (pickle: read it in a cage of the same design only)."""
        self._engine.save_checkpoint(str(folder), tag="state", save_latest=False)

    def load(self, folder: Path) -> None:
        """Read what `save` wrote."""
        path, _ = self._engine.load_checkpoint(str(folder), tag="state")
        assert path is not None, f"no engine state in {folder}"


def zero_stage(n_params: int, n_ranks: int, memory_bytes: float) -> int:
    """The lowest ZeRO stage at which weights, gradients and AdamW's moments fill at most half of a rank's memory.

    In float32 they take 4, 4 and 8 bytes a parameter; stage 1 shares the moments out among the ranks, stage 2 the
    gradients too. Stage 3 is not offered: the largest scale's weights take 5 GB.
    """
    if n_ranks == 1:
        return 0
    shared_bytes = (0, 8, 12)
    for stage, shared in enumerate(shared_bytes):
        if n_params * (16 - shared + shared / n_ranks) <= memory_bytes / 2:
            return stage
    return len(shared_bytes) - 1


@contextmanager
def _scalars_as_vectors(parameters: list[nn.Parameter]) -> Iterator[None]:
    """Give parameters without dimensions one for a while: DeepSpeed's first broadcast views them as bytes."""
    scalars = [p for p in parameters if p.dim() == 0]
    for p in scalars:
        p.data = p.data.reshape(1)
    try:
        yield
    finally:
        for p in scalars:
            p.data = p.data.reshape(())


def _import_deepspeed(accelerator: str) -> Any:
    os.environ.setdefault("DS_ACCELERATOR", accelerator)
    import deepspeed
    import deepspeed.ops
    from deepspeed.utils import logger

    logger.setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", category=FutureWarning)
    # Ranks speak gloo as it is, and compiling this takes half a minute.
    compatible = getattr(deepspeed.ops, "__compatible_ops__", None)
    if isinstance(compatible, dict):
        compatible["deepspeed_shm_comm"] = False
    return deepspeed
