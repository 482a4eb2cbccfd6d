"""One design pre-trained, evaluated and probed: the work in caged children, the figures outside of them."""

from __future__ import annotations

import asyncio
import json
import math
import os
import platform
from collections.abc import Callable, Mapping
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any, Protocol

from genesys.errors import ConfigError, JobFailed, TransientError
from genesys.gau import UnitTree
from genesys.ladder import Scale
from genesys.sandbox import Cage
from genesys.verification.benchmarks import check_suite, score_tasks
from genesys.verification.claims import WeightsFile, weights_file
from genesys.verification.integrity import check_integrity
from genesys.verification.jobs import Jobs
from genesys.verification.probing import score_probes
from genesys.verification.score import held_out, score_text
from genesys.verification.states import CagedModel
from genesys.verification.types import SCORING_VERSION, VerificationReport, VerificationRequest

_MEASURED = ("test_bpb", "test_bpb_se", "unigram_bpb", "untrained_val_loss_nats", "val_loss_nats")
_TRAINED = ("n_params", "tokens_per_s")
_COUNTED = ("flops_per_token",)
"""Figures that a training's answer had not always."""


class Scorer(Protocol):
    """Where the figures come from."""

    async def prepare(self, jobs: Jobs) -> None:
        """Check what the figures will stand on, before anything is trained."""
        ...

    async def text(self, jobs: Jobs, model: CagedModel) -> dict[str, Any]:
        """Losses on held-out text; see `score_text`."""
        ...

    async def tasks(self, jobs: Jobs, model: CagedModel) -> dict[str, Any]:
        """Results of the scale's task suite; see `score_tasks`."""
        ...

    async def probes(self, jobs: Jobs, design_id: str) -> dict[str, Any]:
        """Results of the scale's probes; see `score_probes`."""
        ...


class StateScorer:
    """Scores from hidden states of the caged model: the only scorer that a run may use."""

    async def prepare(self, jobs: Jobs) -> None:
        await held_out(jobs)
        if jobs.request.scale["suite"]:
            await check_suite(jobs.request)

    async def text(self, jobs: Jobs, model: CagedModel) -> dict[str, Any]:
        return await score_text(jobs, model)

    async def tasks(self, jobs: Jobs, model: CagedModel) -> dict[str, Any]:
        return await score_tasks(jobs, model)

    async def probes(self, jobs: Jobs, design_id: str) -> dict[str, Any]:
        return await score_probes(jobs, design_id)


async def verify(
    request: VerificationRequest,
    cage: Cage,
    *,
    scorer: Scorer | None = None,
    on_progress: Callable[[str], None] = lambda stage: None,
) -> VerificationReport:
    """Verify a design at a scale.

    Args:
        scorer: `StateScorer` by default; another one only where the jobs themselves are played.
        on_progress: Called with the name of each stage as it begins: "train", "evaluate", "probe".

    Raises:
        JobFailed: A part failed, the deadline passed, an answer is malformed, or the integrity checks did not hold
            (cause "integrity").
    """
    try:
        return await _verify(Jobs(request, cage, on_progress), scorer or StateScorer())
    except (ConfigError, TransientError) as error:  # a suite or its data: no design's fault
        raise JobFailed("infrastructure", str(error)) from error
    except (KeyError, TypeError, ValueError, OverflowError) as error:  # answers come from where generated code runs
        raise JobFailed("error", f"Cannot use a part's answer: {type(error).__name__}: {error}.") from error
    except OSError as error:  # our own files: a full disk, a folder that is gone
        raise JobFailed("infrastructure", f"Cannot verify on this host: {error}.") from error


async def _verify(jobs: Jobs, scorer: Scorer) -> VerificationReport:
    request = jobs.request
    design_id = UnitTree.from_json(request.tree).design_id
    await scorer.prepare(jobs)
    trained = await jobs.train()
    found = await asyncio.to_thread(weights_file, jobs.weights, max_bytes=jobs.memory_mb * 2**20)
    _check_training(request, design_id, trained, found)
    model = _trained_model(jobs, design_id, found)
    scored = await scorer.text(jobs, model)
    findings = check_integrity(trained, scored)
    if findings:
        raise JobFailed("integrity", "; ".join(map(str, findings)))
    tasks = await scorer.tasks(jobs, model) if request.scale["suite"] else {"metrics": {}}
    probed = await scorer.probes(jobs, design_id) if request.probes else {"probes": {}}
    details = _plain({"train": trained, "evaluate": scored, "benchmarks": tasks, "probe": probed})
    return VerificationReport(
        design_id=design_id,
        scale=str(request.scale["name"]),
        seed=request.seed,
        recipe_hash=request.recipe_hash,
        data_hash=str(scored["shards_hash"]),
        metrics=flat_metrics(details),
        weights=str(jobs.weights),
        weights_sha256=found.sha256,
        n_tokens=int(trained["n_tokens"]),
        seconds=jobs.seconds,
        config=_plain({key: value for key, value in request.to_json().items() if key != "tree"}),
        software=dict(_software()),
        hardware=_hardware(request),
        details=details,
        cage=await jobs.layers(),
        cost=_cost(jobs, trained),
    )


def _check_training(
    request: VerificationRequest, design_id: str, trained: Mapping[str, Any], found: WeightsFile
) -> None:
    """Hold the training's answer against what is known outside of it."""
    if trained["design_id"] != design_id:
        raise JobFailed(
            "integrity",
            f"Cannot accept the training: it built {trained['design_id']!s:.12}, asked for {design_id[:12]}.",
        )
    if trained["weights_sha256"] != found.sha256:
        raise JobFailed(
            "integrity", "Cannot accept the trained weights: their SHA-256 is not the one that the training gave."
        )
    scale = Scale(**request.scale)
    # the checker holds parameters to 20% of the target, but beside a design's own code; buffers come on top
    largest = 2 * (scale.target_block_params + int(request.shape["vocab_size"]) * scale.max_width)
    if not found.n_numbers <= largest:
        raise JobFailed(
            "integrity",
            f"Cannot accept weights of {found.n_numbers:,} numbers at {scale.name}: expected {largest:,} at most.",
        )
    bounds = {
        "n_tokens": (scale.n_steps * scale.batch_tokens, scale.n_steps * scale.batch_tokens),
        "n_params": (1, found.n_numbers),
    }
    for key, (low, high) in bounds.items():
        if not low <= int(trained[key]) <= high:
            raise JobFailed(
                "integrity", f"Cannot accept the training's {key} {trained[key]!r:.40}: expected {low:,} to {high:,}."
            )


def _trained_model(jobs: Jobs, design_id: str, found: WeightsFile) -> CagedModel:
    request = jobs.request
    return CagedModel(
        tree=request.tree,
        shape=request.shape,
        seed=request.seed,
        embedding_std=Scale(**request.scale).embedding_std,
        weights=jobs.weights,
        weights_sha256=found.sha256,
        design_id=design_id,
        n_threads=request.n_threads,
    )


def flat_metrics(details: Mapping[str, Mapping[str, Any]]) -> dict[str, float]:
    """A report's metrics, from its details.

    Raises:
        JobFailed: Cause "integrity": a figure is no finite number.
    """
    trained, scored = details["train"], details["evaluate"]
    metrics = {key: float(scored[key]) for key in _MEASURED}
    metrics |= {key: float(trained[key]) for key in (*_TRAINED, *(k for k in _COUNTED if k in trained))}
    metrics |= {key: float(value) for key, value in details["benchmarks"]["metrics"].items()}
    for name, result in details["probe"]["probes"].items():
        metrics[f"probe_{name}"] = float(result["accuracy"])
        metrics[f"probe_{name}_se"] = float(result["se"])
        metrics[f"probe_{name}_chance"] = float(result["chance"])
    for key, value in metrics.items():
        if not math.isfinite(value):
            raise JobFailed("integrity", f"Cannot accept {key} {value}: expected a finite number.")
    return metrics


def _cost(jobs: Jobs, trained: Mapping[str, Any]) -> dict[str, float]:
    """See `VerificationReport.cost`."""
    claims = {key: float(trained.get(key, 0.0)) for key in ("flops", "seconds", "gpu_seconds", "peak_memory_mb")}
    for key, value in claims.items():
        if not (math.isfinite(value) and value >= 0):
            raise JobFailed("integrity", f"Cannot accept the training's {key} {value}: expected 0 or more.")
    n_tokens = len(jobs.request.scale["lr_grid"]) * float(trained["n_tokens"])
    return {"n_tokens": n_tokens, **claims, "total_seconds": jobs.seconds}


def _plain(value: dict[str, Any]) -> dict[str, Any]:
    """The value as it reads back from JSON, so that a report equals its record."""
    plain: dict[str, Any] = json.loads(json.dumps(value))
    return plain


@cache
def _software() -> Mapping[str, str]:
    """Versions that a result depends on, as installed here; the job's own word is not asked."""
    names = ("torch", "deepspeed", "numpy", "safetensors", "lm-eval", "tokenizers")
    found = {dist.metadata["Name"]: dist.version for name in names for dist in metadata.distributions(name=name)}
    return {"python": platform.python_version(), **found, "scoring": str(SCORING_VERSION)}


def _hardware(request: VerificationRequest) -> dict[str, Any]:
    return {
        "machine": platform.machine(),
        "system": platform.system(),
        "processor": _first(Path("/proc/cpuinfo"), "model name"),
        "cards": [_first(path, "Model") for path in sorted(Path("/proc/driver/nvidia/gpus").glob("*/information"))],
        "cpus": os.cpu_count(),
        "threads": request.n_threads,
        "processes": request.n_processes,
    }


@cache
def _first(path: Path, key: str) -> str:
    """The value of the first line `key : value` of a file; "" if there is none."""
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return ""
    return next((line.partition(":")[2].strip() for line in lines if line.startswith(key)), "")
