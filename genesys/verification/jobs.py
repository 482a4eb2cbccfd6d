"""The caged jobs of one verification: one deadline, and for each job the files it may touch.

What generated code can write lies in folders of its own; everything else of the verification's folder is the trusted
side's alone. The training reads train and val, the scoring reads rows of input tokens, the probes read nothing.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from genesys.errors import JobFailed
from genesys.sandbox import Cage, Policy
from genesys.sandbox.policy import has_gpu
from genesys.verification.progress import TRAINING_FOLDER, write_stage
from genesys.verification.types import VerificationRequest

WEIGHTS_FILE = "weights.safetensors"
_MIB = 2**20


class Jobs:
    """Runs the jobs of one verification one after the other.

    Attributes:
        request: What is verified.
        training_folder: Where the training job keeps its checkpoints and leaves its weights; all of it is claims.
    """

    def __init__(
        self, request: VerificationRequest, cage: Cage, on_progress: Callable[[str], None] = lambda stage: None
    ) -> None:
        self.request, self.training_folder = request, Path(request.out).absolute() / TRAINING_FOLDER
        self._cage, self._on_progress = cage, on_progress
        self._stage, self._started = "", time.monotonic()

    @property
    def seconds(self) -> float:
        return time.monotonic() - self._started

    @property
    def memory_mb(self) -> int:
        """What one job may use: the request's limit, or half of this host's memory."""
        physical_mb = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // _MIB
        return self.request.memory_mb or physical_mb // 2

    @property
    def weights(self) -> Path:
        """Where the trained weights must be, whatever the training says."""
        return self.training_folder / WEIGHTS_FILE

    async def train(self) -> dict[str, Any]:
        """Run the training, at every learning rate of the scale's grid.

        The state that it keeps on disk was in memory before: a checkpoint is no larger than the memory limit, and two
        of them and weights of each learning rate stand side by side at most.
        """
        self.training_folder.mkdir(parents=True, exist_ok=True)
        shards = Path(self.request.shards).absolute()
        policy = Policy(
            deadline_s=self._left_s("train"),
            memory_mb=self.memory_mb,
            file_mb=self.memory_mb,
            scratch_mb=(2 + len(self.request.scale["lr_grid"])) * self.memory_mb,
            gpu=has_gpu(),
            loopback=self.request.n_processes > 1,
            readable=tuple(sorted(str(path) for path in shards.glob("*") if not path.name.startswith("test"))),
            writable=(str(self.training_folder),),
        )
        return await self.run("train", "genesys.train.job:train", self._training(), policy)

    async def write(
        self,
        stage: str,
        entry: str,
        request: Mapping[str, Any],
        *,
        folder: Path,
        n_bytes: int,
        readable: tuple[Path, ...],
    ) -> dict[str, Any]:
        """Run a job that reads some files and writes at most `n_bytes` into an empty folder of its own."""
        n_mb = n_bytes // _MIB + 1
        policy = Policy(
            deadline_s=self._left_s(stage),
            memory_mb=self.memory_mb,
            file_mb=n_mb,
            scratch_mb=n_mb + 64,
            gpu=has_gpu(),
            readable=tuple(map(str, readable)),
            writable=(str(folder),),
        )
        return await self.run(stage, entry, request, policy)

    async def run(self, stage: str, entry: str, request: Mapping[str, Any], policy: Policy) -> dict[str, Any]:
        """Run one job, and say so when its stage is a new one."""
        if stage != self._stage:
            self._stage = stage
            write_stage(Path(self.request.out), stage)
            self._on_progress(stage)
        return await self._cage.run(entry, request, policy)

    async def layers(self) -> dict[str, str]:
        """The cage's layers; see `Cage.layers`."""
        return {str(layer): reason for layer, reason in (await self._cage.layers()).items()}

    def _left_s(self, stage: str) -> float:
        left_s = self.request.deadline_s - self.seconds
        if not left_s > 0:
            raise JobFailed(
                "timeout", f"Cannot {stage}: the {self.request.deadline_s:g} s of the verification are over."
            )
        return left_s

    def _training(self) -> dict[str, Any]:
        request = self.request
        return {
            "tree": request.tree,
            "shape": dict(request.shape),
            "scale": dict(request.scale),
            "shards": str(Path(request.shards).absolute()),
            "seed": request.seed,
            "n_threads": request.n_threads,
            "n_processes": request.n_processes,
            "gpu_share": request.gpu_share,
            "recipe": request.recipe_hash,
            "out": str(self.training_folder),
            "checkpoint_every_s": request.checkpoint_every_s,
            "reference_curve": [list(point) for point in request.reference_curve],
            "limit_s": self._left_s("train") if request.stop_when_slow else 0.0,
        }
