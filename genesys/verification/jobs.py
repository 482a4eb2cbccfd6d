"""The caged jobs of one verification: one deadline, and for each job the files it may touch.

What generated code can write lies in folders of its own; everything else of the verification's folder is the trusted
side's alone. The training reads train and val, the scoring reads rows of input tokens, the probes read nothing.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from genesys.errors import JobFailed
from genesys.ladder import Scale
from genesys.sandbox import Cage, Policy
from genesys.verification.progress import training_folder, write_stage
from genesys.verification.types import VerificationRequest

WEIGHTS_FILE = "weights.safetensors"
_MIB = 2**20


@dataclass(frozen=True, slots=True)
class Training:
    """What a training left: its weights must be there, whatever its answer says. All of it is claims."""

    weights: Path
    answer: Mapping[str, Any]


class Jobs:
    """Runs the jobs of one verification one after the other.

    Attributes:
        request: What is verified.
        out: The verification's folder.
    """

    def __init__(
        self, request: VerificationRequest, cage: Cage, on_progress: Callable[[str], None] = lambda stage: None
    ) -> None:
        self.request, self.out = request, Path(request.out).absolute()
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

    async def train(self, scale: Scale, index: int) -> Training:
        """Run the training at the `index`th learning rate of the grid.

        The state that it keeps on disk was in memory before: a checkpoint is no larger than the memory limit, and two
        of them and the weights stand side by side at most.
        """
        folder = self.out / training_folder(index)
        folder.mkdir(parents=True, exist_ok=True)
        shards = Path(self.request.shards).absolute()
        policy = Policy(
            deadline_s=self._left_s("train"),
            memory_mb=self.memory_mb,
            file_mb=self.memory_mb,
            scratch_mb=3 * self.memory_mb,
            gpu=has_gpu(),
            readable=tuple(sorted(str(path) for path in shards.glob("*") if not path.name.startswith("test"))),
            writable=(str(folder),),
        )
        answer = await self.run("train", "genesys.train.job:train", self._training(scale, folder), policy)
        return Training(folder / WEIGHTS_FILE, answer)

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

    def _training(self, scale: Scale, folder: Path) -> dict[str, Any]:
        request = self.request
        return {
            "tree": request.tree,
            "shape": dict(request.shape),
            "scale": asdict(scale),
            "shards": str(Path(request.shards).absolute()),
            "seed": request.seed,
            "n_threads": request.n_threads,
            "n_processes": request.n_processes,
            "recipe": request.recipe_hash,
            "out": str(folder),
            "checkpoint_every_s": request.checkpoint_every_s,
            "reference_curve": [list(point) for point in request.reference_curve],
            "limit_s": self._left_s("train") if request.stop_when_slow else 0.0,
        }


def has_gpu() -> bool:
    """Whether a job may use a card: one that Ray or the user gave this process, or, if nothing was said, any there is."""
    given = os.environ.get("CUDA_VISIBLE_DEVICES")
    return any(Path("/dev").glob("nvidia[0-9]*")) if given is None else bool(given)
