"""torch.compile by policy: the repeated block once, where it pays back, else as it is.

What the compiler leaves behind is code and pickles of a design's own: it lies in the training's own folder, under a name
made from the design's unit ids and torch's version, and is never read by another design.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from genesys.train.loss import NextTokenLoss, loss_and_slope

CompileRequest = Literal["auto", "on", "off"]
CPU_FLOPS = 30e9
"""FLOP/s of one thread in training; measured on two cores: 65e9."""
CPU_GAIN, CPU_COST_S = 0.1, 18.0
"""Share of a step saved, and seconds that compiling takes; measured: 2-25% for 10-18 s."""
GPU_SHARE, GPU_GAIN, GPU_COST_S = 0.15, 0.4, 30.0
"""Share of the peak that a training reaches without, share of a step saved, and seconds."""
_UNKNOWN_PEAK = 300e12


def pays_back(total_flops: float, device_type: str, peak: float | None = None) -> bool:
    """Whether compiling saves more seconds of a training of so many FLOPs than it takes."""
    if device_type == "cuda":
        return GPU_GAIN * total_flops / (GPU_SHARE * (peak or _UNKNOWN_PEAK)) > GPU_COST_S
    return CPU_GAIN * total_flops / (CPU_FLOPS * torch.get_num_threads()) > CPU_COST_S


def keep_artefacts(out: Path, unit_ids: Iterable[str]) -> Path:
    """Have the compiler work in a folder of the design's own below `out`; gives that folder."""
    key = hashlib.sha256("\n".join([torch.__version__, *sorted(unit_ids)]).encode()).hexdigest()[:16]
    folder = out / f"compiled-{key}"
    os.environ["TORCHINDUCTOR_CACHE_DIR"] = str(folder / "inductor")
    os.environ["TRITON_CACHE_DIR"] = str(folder / "triton")
    return folder


def compile_blocks(loss: NextTokenLoss, rows_BL: Tensor) -> str:
    """Compile the model's blocks and try them on these rows; gives "yes", or "no: " and why they run as they are.

    Blocks are compiled one by one: they share their code, so that the first one's serves them all, which takes seconds
    where the whole model takes minutes.
    """
    import torch._inductor.config

    if (reason := _no_compiler(rows_BL.device.type)) is not None:
        return f"no: {reason}"
    model = loss.model
    torch._dynamo.config.recompile_limit = 8 + 2 * len(model.blocks)  # units may be told of their block's place
    torch._inductor.config.compile_threads = 1  # in this process: a cage has no room for a pool of others
    parts = [*model.blocks, model.norm]
    try:
        for part in parts:
            part.compile()
        loss.slope = torch.compile(loss_and_slope)
        loss(rows_BL).backward()
    except Exception as error:  # the compiler may fail at anything that a design does
        for part in parts:
            part._compiled_call_impl = None
        loss.slope = loss_and_slope
        return f"no: {type(error).__name__}: {' '.join(str(error).split())}"[:300]
    torch._dynamo.config.suppress_errors = True  # from here on, what cannot be compiled anew runs as it is
    return "yes"


def _no_compiler(device_type: str) -> str | None:
    """Why the compiler that inductor or Triton would call cannot be run; a cage without `exec` says so in no time."""
    command = os.environ.get("CC", "gcc") if device_type == "cuda" else os.environ.get("CXX", "g++")
    try:
        subprocess.run([command, "--version"], check=True, capture_output=True, timeout=60)
    except (OSError, subprocess.SubprocessError) as error:
        return f"{command} cannot be run: {error}"[:300]
    return None
