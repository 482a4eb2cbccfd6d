"""Checkpoints that a killed training resumes from, and the weights file that it ends with.

A checkpoint is a folder that comes into being by one rename, so a kill leaves either the old one or the new one.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from safetensors.torch import save_file
from torch import nn

from genesys.train.world import Rank

_PREFIX = "checkpoint-"


def save_checkpoint(out: Path, step: int, state: Mapping[str, Any], write: Callable[[Path], None], rank: Rank) -> None:
    """Write the checkpoint before step `step`, then remove the older ones; a call that all ranks make together.

    Args:
        state: What a resume needs to know beside what `write` leaves in the folder that it is given.
    """
    final, temporary = out / f"{_PREFIX}{step:09d}", out / f".{_PREFIX}partial"
    if rank.index == 0:
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir(parents=True)
    rank.wait_for_all()
    write(temporary)
    rank.wait_for_all()
    if rank.index == 0:
        _finish(temporary, final, state)


def _finish(temporary: Path, final: Path, state: Mapping[str, Any]) -> None:
    (temporary / "state.json").write_text(json.dumps(dict(state)), encoding="utf-8")
    if final.exists():
        shutil.rmtree(final)
    os.rename(temporary, final)
    for old in final.parent.glob(f"{_PREFIX}*"):
        if old != final:
            shutil.rmtree(old, ignore_errors=True)


def latest_checkpoint(out: Path, fingerprint: str) -> tuple[Path, dict[str, Any]] | None:
    """The newest whole checkpoint of the same training, with its state; None to start afresh.

    Args:
        out: The training's folder.
        fingerprint: Of the request; a checkpoint of another design, recipe, seed or data is passed over.
    """
    for path in sorted(out.glob(f"{_PREFIX}*"), reverse=True):
        try:
            state: dict[str, Any] = json.loads((path / "state.json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            continue
        if state.get("fingerprint") == fingerprint:
            return path, state
    return None


def drop_checkpoints(out: Path) -> None:
    """Remove all checkpoints: the weights are final, and optimizer state is large."""
    for path in (*out.glob(f"{_PREFIX}*"), *out.glob(f".{_PREFIX}*")):
        shutil.rmtree(path, ignore_errors=True)


def save_weights(model: nn.Module, path: Path, *, design_id: str) -> str:
    """Write the parameters and buffers of a model as safetensors, by one rename; gives the file's SHA-256.

    A tensor that stands in the model under several names (tied units) is written under the first. The header names
    the design and nothing else: safetensors writes several entries in no fixed order, and equal weights shall be
    equal files.
    """
    temporary = path.with_name(f".{path.name}-{os.getpid()}")
    save_file(unique_tensors(model), temporary, metadata={"design_id": design_id})
    temporary.chmod(0o644)
    digest = hashlib.sha256(temporary.read_bytes()).hexdigest()
    os.rename(temporary, path)
    return digest


def weights_digest(model: nn.Module) -> str:
    """SHA-256 of all parameters and buffers with their names, shapes and types, without writing a file."""
    digest = hashlib.sha256()
    for name, tensor in unique_tensors(model).items():
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.numpy().tobytes())
    return digest.hexdigest()


def unique_tensors(model: nn.Module) -> dict[str, Any]:
    """Each tensor of the state once, contiguous and on the CPU, in order of names."""
    seen: set[int] = set()
    tensors = {}
    for name, tensor in model.state_dict(keep_vars=True).items():
        if id(tensor) not in seen:
            seen.add(id(tensor))
            tensors[name] = tensor.detach().cpu().contiguous()
    return dict(sorted(tensors.items()))
