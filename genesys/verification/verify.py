"""One design pre-trained, evaluated and probed, each in a child process of its own."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import platform
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from genesys.errors import JobFailed
from genesys.sandbox import Cage, Policy
from genesys.verification.integrity import check_integrity
from genesys.verification.progress import write_stage
from genesys.verification.types import VerificationReport, VerificationRequest

_MEASURED = ("test_bpb", "test_bpb_se", "unigram_bpb", "untrained_val_loss_nats", "val_loss_nats")


async def verify(
    request: VerificationRequest, cage: Cage, *, on_progress: Callable[[str], None] | None = None
) -> VerificationReport:
    """Verify a design at a scale.

    Args:
        on_progress: Called with the name of each stage as it begins: "train", "evaluate", "probe".

    Raises:
        JobFailed: A part failed, the deadline passed, an answer is malformed, or the integrity checks did not hold
            (cause "integrity").
    """
    try:
        return await _verify(request, cage, on_progress or (lambda stage: None))
    except (KeyError, TypeError, ValueError) as error:  # the answers come from where generated code runs
        raise JobFailed("error", f"Cannot use a part's answer: {type(error).__name__}: {error}.") from error


async def _verify(request: VerificationRequest, cage: Cage, on_progress: Callable[[str], None]) -> VerificationReport:
    run = _Run(request, cage, on_progress)
    trained = await run.part("train", "genesys.train.job:train", _train_request(request))
    weights = str(trained["weights"])
    await _check_file(weights, str(trained["weights_sha256"]))
    evaluated = await run.part("evaluate", "genesys.evaluate.job:evaluate", {**_common(request), "weights": weights})
    findings = check_integrity(trained, evaluated)
    if findings:
        raise JobFailed("integrity", "; ".join(map(str, findings)))
    probed = await _probe(run, request, str(trained["design_id"])) if request.probes else {"probes": {}}
    return VerificationReport(
        design_id=str(trained["design_id"]),
        scale=str(request.scale["name"]),
        seed=request.seed,
        recipe_hash=request.recipe_hash,
        data_hash=str(trained["shards_hash"]),
        metrics=_metrics(trained, evaluated, probed),
        weights=weights,
        weights_sha256=str(trained["weights_sha256"]),
        n_tokens=int(trained["n_tokens"]),
        seconds=run.seconds,
        config=_plain({key: value for key, value in request.to_json().items() if key != "tree"}),
        software=dict(trained["software"]),
        hardware=_hardware(request),
        details={"train": trained, "evaluate": evaluated, "probe": probed},
    )


class _Run:
    """Runs the parts one after the other under one deadline."""

    def __init__(self, request: VerificationRequest, cage: Cage, on_progress: Callable[[str], None]) -> None:
        self._request, self._cage, self._on_progress = request, cage, on_progress
        self._started = time.monotonic()

    @property
    def seconds(self) -> float:
        return time.monotonic() - self._started

    async def part(self, stage: str, entry: str, request: Mapping[str, Any]) -> dict[str, Any]:
        left_s = self._request.deadline_s - self.seconds
        if not left_s > 0:
            raise JobFailed(
                "timeout", f"Cannot {stage}: the {self._request.deadline_s:g} s of the verification are over."
            )
        write_stage(Path(self._request.out), stage)
        self._on_progress(stage)
        return await self._cage.run(entry, request, Policy(deadline_s=left_s))


async def _probe(run: _Run, request: VerificationRequest, design_id: str) -> dict[str, Any]:
    """The answers of the scale's probes, from the cache those that it holds for this design and seed."""
    names = [str(name) for name in request.scale["probes"]]
    kept = {name: found for name in names if (found := _kept_probe(request, design_id, name)) is not None}
    missing = [name for name in names if name not in kept]
    if not missing:
        return {"probes": kept, "cached": names, "seconds": 0.0}
    ask = {"tree": request.tree, "probes": missing, "seed": request.seed, "n_threads": request.n_threads}
    answer = await run.part("probe", "genesys.evaluate.job:probe", ask)
    if answer["design_id"] != design_id:
        raise JobFailed("integrity", f"Cannot use the probes: they built {answer['design_id']}, not {design_id}.")
    if request.probe_cache:
        for name, result in answer["probes"].items():
            _write_atomically(_probe_path(request, design_id, name), json.dumps(result))
    return answer | {"probes": kept | answer["probes"], "cached": sorted(kept)}


def _kept_probe(request: VerificationRequest, design_id: str, name: str) -> dict[str, Any] | None:
    if not request.probe_cache:
        return None
    try:
        kept: dict[str, Any] = json.loads(_probe_path(request, design_id, name).read_text(encoding="utf-8"))
        return kept
    except (OSError, ValueError):
        return None  # not there, or cut short: measured again


def _probe_path(request: VerificationRequest, design_id: str, name: str) -> Path:
    return Path(request.probe_cache) / f"{design_id}-{name}-{request.seed}.json"


def _common(request: VerificationRequest) -> dict[str, Any]:
    return {
        "tree": request.tree,
        "shape": dict(request.shape),
        "scale": dict(request.scale),
        "shards": request.shards,
        "seed": request.seed,
        "n_threads": request.n_threads,
    }


def _train_request(request: VerificationRequest) -> dict[str, Any]:
    return {
        **_common(request),
        "recipe": request.recipe_hash,
        "out": request.out,
        "checkpoint_every_s": request.checkpoint_every_s,
    }


async def _check_file(weights: str, claimed_sha256: str) -> None:
    """Hash the weights outside the child that wrote them."""
    try:
        data = await asyncio.to_thread(Path(weights).read_bytes)
    except OSError as error:
        raise JobFailed(
            "integrity", f"Cannot read the weights {weights!r}: {error}; expected the file that was trained."
        ) from None
    if hashlib.sha256(data).hexdigest() != claimed_sha256:
        raise JobFailed(
            "integrity", f"Cannot accept the weights {weights!r}: their SHA-256 is not the one the training gave."
        )


def _metrics(trained: Mapping[str, Any], evaluated: Mapping[str, Any], probed: Mapping[str, Any]) -> dict[str, float]:
    metrics = {key: float(evaluated[key]) for key in _MEASURED}
    metrics |= {key: float(trained[key]) for key in ("n_params", "tokens_per_s")}
    for name, result in probed["probes"].items():
        metrics[f"probe_{name}"] = float(result["accuracy"])
        metrics[f"probe_{name}_se"] = float(result["se"])
        metrics[f"probe_{name}_chance"] = float(result["chance"])
    return metrics


def _plain(value: dict[str, Any]) -> dict[str, Any]:
    """The value as it reads back from JSON, so that a report equals its record."""
    plain: dict[str, Any] = json.loads(json.dumps(value))
    return plain


def _hardware(request: VerificationRequest) -> dict[str, Any]:
    return {
        "machine": platform.machine(),
        "system": platform.system(),
        "cpus": os.cpu_count(),
        "threads": request.n_threads,
    }


def _write_atomically(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile("w", encoding="utf-8", dir=path.parent, suffix=".tmp", delete=False) as file:
        file.write(text)
    os.replace(file.name, path)
