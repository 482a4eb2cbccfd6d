"""What the process computes on: the device, what it holds, and how fast it could be."""

from __future__ import annotations

import os
import resource
import sys

import torch

PEAK_BF16_FLOPS = (
    # dense, by the makers' data sheets; the first name found in the device's counts
    ("B200", 2250e12),
    ("H200", 989.4e12),
    ("H100 PCIe", 756e12),
    ("H100 NVL", 835e12),
    ("H100", 989.4e12),
    ("A100", 312e12),
    ("L40S", 362e12),
    ("RTX A6000", 154.8e12),
    ("RTX 4090", 165.2e12),
)
_MIB = 2**20


def training_device(local_rank: int = 0) -> torch.device:
    """The rank's card, or the CPU where there is none."""
    return torch.device("cuda", local_rank) if torch.cuda.is_available() else torch.device("cpu")


def peak_flops(device: torch.device) -> float | None:
    """Dense bf16 FLOP/s of a card by its data sheet; None for one we do not know, and for a CPU."""
    if device.type != "cuda":
        return None
    name = torch.cuda.get_device_name(device)
    return next((flops for known, flops in PEAK_BF16_FLOPS if known in name), None)


def memory_bytes(device: torch.device) -> float:
    """All memory of the device."""
    if device.type == "cuda":
        return float(torch.cuda.get_device_properties(device).total_memory)
    return float(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))


def peak_memory_mb(device: torch.device) -> float:
    """The most memory held so far, in MB: tensors on a card, or the resident set of this process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / _MIB
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (_MIB if sys.platform == "darwin" else 2**10)
