"""The processes of one training, and how they meet.

A single process runs on torch's `fake` process group, so that no socket is needed in a cage without network; where that
private class is missing, on gloo over a store in memory. Ranks of one training meet over a store in a file and speak
gloo or NCCL over loopback. A process can join one world: start a fresh process for each training.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from torch import distributed as dist

from genesys.errors import ConfigError
from genesys.train.card import training_device


@dataclass(frozen=True, slots=True)
class Rank:
    """One of the `count` processes of a training, and the file over which they find each other."""

    index: int = 0
    count: int = 1
    store: Path | None = None

    def join(self) -> torch.device:
        """Join the world of the training's processes; gives the device of this one.

        Raises:
            ConfigError: There are cards here, but not one for each process.
        """
        names = {"RANK": self.index, "LOCAL_RANK": self.index, "WORLD_SIZE": self.count, "LOCAL_SIZE": self.count}
        os.environ.update({name: str(value) for name, value in names.items()})  # without them DeepSpeed looks for MPI
        device = training_device(self.index)
        if device.type == "cuda":
            _require_cards(self.count)
            torch.cuda.set_device(device)
        if not dist.is_initialized():
            _join_alone() if self.count == 1 else self._join_others(device)
        return device

    def _join_others(self, device: torch.device) -> None:
        loopback = "lo0" if os.uname().sysname == "Darwin" else "lo"
        os.environ.update({"GLOO_SOCKET_IFNAME": loopback, "NCCL_SOCKET_IFNAME": loopback})
        backend = "nccl" if device.type == "cuda" else "gloo"
        store = dist.FileStore(str(self.store), self.count)  # type: ignore[attr-defined]
        dist.init_process_group(backend, rank=self.index, world_size=self.count, store=store)

    def sum(self, value: Tensor) -> Tensor:
        """The sum of every rank's value, in place."""
        if self.count > 1:
            dist.all_reduce(value)
        return value

    def least(self, value: int, device: torch.device) -> int:
        """The least of every rank's value."""
        if self.count == 1:
            return value
        tensor = torch.tensor(value, device=device)
        dist.all_reduce(tensor, dist.ReduceOp.MIN)
        return int(tensor)

    def wait_for_all(self) -> None:
        if self.count > 1:
            dist.barrier()


def _require_cards(count: int) -> None:
    n_cards = torch.cuda.device_count()
    if count > n_cards:
        raise ConfigError(
            f"Cannot train on {count} processes: this host offers {n_cards} cards; expected one for each. Lower n_processes."
        )


def _join_alone() -> None:
    try:
        from torch.testing._internal.distributed.fake_pg import FakeStore
    except ImportError:
        from torch._C._distributed_c10d import HashStore

        dist.init_process_group("gloo", rank=0, world_size=1, store=HashStore())
    else:
        dist.init_process_group("fake", rank=0, world_size=1, store=FakeStore())
