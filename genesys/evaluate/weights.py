"""Weights as safetensors files: written, and put back into a freshly built model with everything checked on the way."""

from __future__ import annotations

import hashlib
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import nn

from genesys.errors import JobFailed


def save_weights(model: nn.Module, path: Path, *, design_id: str) -> str:
    """Write each tensor of a model once; gives the SHA-256 of the file."""
    data = save({name: t.cpu().contiguous() for name, t in _unique_state(model).items()}, {"design_id": design_id})
    path.write_bytes(data)
    return hashlib.sha256(data).hexdigest()


def load_weights(model: nn.Module, path: Path, *, design_id: str) -> str:
    """Put the tensors of a safetensors file into `model`; gives the SHA-256 of the file that was read.

    Raises:
        JobFailed: With cause "integrity": the file is missing or malformed, was written for another design, or its
            names, shapes or types are not those of the model.
    """
    try:
        data = path.read_bytes()
        tensors = load(data)
        written_for = _metadata(path).get("design_id")
    except (OSError, SafetensorError) as error:
        raise _refuse(path, f"{error}") from None
    if written_for != design_id:
        raise _refuse(path, f"it was written for design {str(written_for)[:12]}, not for {design_id[:12]}")
    expected = _unique_state(model)
    if set(tensors) != set(expected):
        raise _refuse(path, f"its tensors differ from the model's in {sorted(set(tensors) ^ set(expected))[:3]}")
    with torch.no_grad():
        for name, target in expected.items():
            if (tensors[name].shape, tensors[name].dtype) != (target.shape, target.dtype):
                raise _refuse(path, f"{name} is {tensors[name].dtype} {tuple(tensors[name].shape)}")
            target.copy_(tensors[name])
    return hashlib.sha256(data).hexdigest()


def _metadata(path: Path) -> dict[str, str]:
    from safetensors import safe_open

    with safe_open(path, framework="pt") as file:
        return dict(file.metadata() or {})


def _unique_state(model: nn.Module) -> dict[str, torch.Tensor]:
    """Each tensor of the model under the first name that it has; tied ones are stored once."""
    names: dict[int, str] = {}
    state = model.state_dict(keep_vars=True)
    for name, tensor in state.items():
        names.setdefault(id(tensor), name)
    return {name: state[name].detach() for name in names.values()}


def _refuse(path: Path, what: str) -> JobFailed:
    return JobFailed("integrity", f"Cannot evaluate weights {path.name!r}: {what}; expected what the training wrote.")
