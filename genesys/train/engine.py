"""One DeepSpeed engine in a process of its own. The only place that imports deepspeed.

World size 1 runs on torch's `fake` process group, so that no socket is needed in a cage without network; where that
private class is missing, on gloo over a store in memory. A process can hold one engine world: start a fresh process
for each training.
"""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch import distributed as dist

BETAS = (0.9, 0.999)
EPSILON = 1e-8
CLIP_NORM = 1.0


class Engine:
    """Steps one model: backward pass, clipping, AdamW without weight decay, checkpoints.

    Clipping happens here and not inside DeepSpeed, which throws the norm away at ZeRO stage 0; the guard needs it.
    """

    def __init__(self, model: nn.Module, *, batch_rows: int) -> None:
        deepspeed = _import_deepspeed()
        _join_world()
        self._parameters = [p for p in model.parameters() if p.requires_grad]
        optimizer = torch.optim.AdamW(self._parameters, lr=0.0, betas=BETAS, eps=EPSILON, weight_decay=0.0)
        with _scalars_as_vectors(self._parameters):
            self._engine, self._optimizer, _, _ = deepspeed.initialize(
                model=model, optimizer=optimizer, config=_config(batch_rows), dist_init_required=False
            )

    def __call__(self, tokens_BL: Tensor) -> Tensor:
        logits: Tensor = self._engine(tokens_BL)
        return logits

    def step(self, loss: Tensor, *, lr: float) -> Tensor:
        """Take one optimizer step down `loss`; gives the norm of the gradient before clipping, a scalar."""
        self._engine.backward(loss)
        norm = nn.utils.clip_grad_norm_(self._parameters, CLIP_NORM)
        for group in self._optimizer.param_groups:
            group["lr"] = lr
        self._engine.step()
        return norm

    def save(self, folder: Path) -> None:
        """Write weights and optimizer state into `folder` (pickle: read it in a cage of the same design only)."""
        self._engine.save_checkpoint(str(folder), tag="state", save_latest=False)

    def load(self, folder: Path) -> None:
        """Read what `save` wrote."""
        path, _ = self._engine.load_checkpoint(str(folder), tag="state")
        assert path is not None, f"no engine state in {folder}"


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


def _config(batch_rows: int) -> dict[str, Any]:
    return {
        "train_batch_size": batch_rows,
        "train_micro_batch_size_per_gpu": batch_rows,
        "gradient_accumulation_steps": 1,
        "gradient_clipping": 0.0,
        "zero_optimization": {"stage": 0},
        "zero_allow_untested_optimizer": True,
        "zero_force_ds_cpu_optimizer": False,
        "steps_per_print": 10**9,
        "wall_clock_breakdown": False,
    }


def _import_deepspeed() -> Any:
    os.environ.setdefault("DS_ACCELERATOR", "cpu")
    for name, value in {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "1", "LOCAL_SIZE": "1"}.items():
        os.environ.setdefault(name, value)  # without them it looks for MPI
    import deepspeed
    import deepspeed.ops
    from deepspeed.utils import logger

    logger.setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", category=FutureWarning)
    # Not needed with one process, and compiling it takes half a minute.
    compatible = getattr(deepspeed.ops, "__compatible_ops__", None)
    if isinstance(compatible, dict):
        compatible["deepspeed_shm_comm"] = False
    return deepspeed


def _join_world() -> None:
    if dist.is_initialized():
        return
    try:
        from torch.testing._internal.distributed.fake_pg import FakeStore
    except ImportError:
        from torch._C._distributed_c10d import HashStore

        dist.init_process_group("gloo", rank=0, world_size=1, store=HashStore())
    else:
        dist.init_process_group("fake", rank=0, world_size=1, store=FakeStore())
