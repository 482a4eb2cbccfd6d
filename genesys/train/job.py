"""The training as an entry of a caged child process: JSON in, JSON out, weights as a file."""

from __future__ import annotations

import hashlib
import json
import platform
import resource
import sys
import time
from collections.abc import Mapping
from dataclasses import asdict
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

from genesys.errors import ConfigError, JobFailed
from genesys.gau import UnitTree
from genesys.ladder import Scale
from genesys.model import ModelShape, build_model
from genesys.train.checkpoint import drop_checkpoints, save_weights, weights_digest
from genesys.train.data.shards import Shards, load_shards
from genesys.train.trainer import TrainingPlan, train_model, validation_loss

INIT_RULE = "genesys.model.gam.initialise v1; streams by order and shape"
WEIGHTS_FILE = "weights.safetensors"
FINISHED_FILE = "trained.json"


def train(request: dict[str, Any]) -> dict[str, Any]:
    """Pre-train a design at a scale.

    Args:
        request: `tree` (UnitTree.to_json), `shape` {vocab_size, d_model, n_blocks}, `scale` (Scale's fields), `shards`
            (folder), `seed`, `recipe` (its hash), `out` (folder), `n_threads`, `checkpoint_every_s`.

    Returns:
        Path and SHA-256 of the weights, the id of the design that was built, losses in nats per token, tokens, seconds
        and the loss curve. Only the train and val splits are read.

    Raises:
        JobFailed: The training left the finite numbers, or ran out of memory.
    """
    started = time.monotonic()
    torch.set_num_threads(int(request.get("n_threads", 1)))
    tree, shape = UnitTree.from_json(request["tree"]), ModelShape(**request["shape"])
    shards, out = load_shards(Path(request["shards"]), splits=("train", "val")), Path(request["out"])
    _check_vocabulary(shape, shards)
    out.mkdir(parents=True, exist_ok=True)
    plan = TrainingPlan(
        scale=Scale(**request["scale"]),
        seed=int(request["seed"]),
        shards=shards,
        out=out,
        fingerprint=_fingerprint(request, tree, shards),
        checkpoint_every_s=request.get("checkpoint_every_s", 30.0),
    )
    try:
        return _finished(plan) or _train(tree, shape, plan, started)
    except RuntimeError as error:
        if isinstance(error, JobFailed) or "allocate memory" not in str(error):
            raise
        raise JobFailed("out-of-memory", f"Cannot train on: {error}. Lower the widths inside the units.") from error


def _train(tree: UnitTree, shape: ModelShape, plan: TrainingPlan, started: float) -> dict[str, Any]:
    model = build_model(tree, shape, seed=plan.seed, embedding_std=plan.scale.embedding_std)
    init_sha256 = weights_digest(model)
    result = train_model(model, plan)
    model.cpu()  # losses are compared on one kind of device, wherever the training was
    val_loss_nats = validation_loss(model, plan.shards, plan.scale.context)
    weights = plan.out / WEIGHTS_FILE
    weights_sha256 = save_weights(model, weights, design_id=tree.design_id)
    answer = {
        **asdict(result),
        "weights": str(weights),
        "weights_sha256": weights_sha256,
        "init_sha256": init_sha256,
        "init_rule": INIT_RULE,
        "design_id": tree.design_id,
        "n_params": model.n_params(),
        "val_loss_nats": val_loss_nats,
        "shards_hash": plan.shards.hash,
        "seconds": time.monotonic() - started,
        "peak_memory_mb": peak_memory_mb(),
        "software": software(),
    }
    _write_finished(plan, answer)
    drop_checkpoints(plan.out)
    return answer


def _finished(plan: TrainingPlan) -> dict[str, Any] | None:
    """The answer of this very training, if it ended here before and its weights still stand."""
    try:
        kept = json.loads((plan.out / FINISHED_FILE).read_text(encoding="utf-8"))
        weights = hashlib.sha256((plan.out / WEIGHTS_FILE).read_bytes()).hexdigest()
    except (OSError, ValueError):
        return None
    answer: dict[str, Any] = kept["answer"]
    return answer if kept["fingerprint"] == plan.fingerprint and answer["weights_sha256"] == weights else None


def _write_finished(plan: TrainingPlan, answer: Mapping[str, Any]) -> None:
    temporary = plan.out / f".{FINISHED_FILE}"
    temporary.write_text(json.dumps({"fingerprint": plan.fingerprint, "answer": answer}), encoding="utf-8")
    temporary.rename(plan.out / FINISHED_FILE)


def peak_memory_mb() -> float:
    """The largest resident set of this process so far, in MB."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**20 if sys.platform == "darwin" else 2**10)


def software() -> Mapping[str, str]:
    """Versions that a result depends on."""
    packages = {name: metadata.version(name) for name in ("torch", "deepspeed", "numpy", "safetensors")}
    return {"python": platform.python_version(), **packages}


def _fingerprint(request: Mapping[str, Any], tree: UnitTree, shards: Shards) -> str:
    decisive = [
        tree.design_id,
        *(request.get(key) for key in ("shape", "scale", "seed", "recipe", "n_threads")),
        shards.hash,
    ]
    return hashlib.sha256(json.dumps(decisive, sort_keys=True).encode()).hexdigest()


def _check_vocabulary(shape: ModelShape, shards: Shards) -> None:
    if shape.vocab_size < shards.vocab_size:
        raise ConfigError(
            f"Cannot train on shards {shards.corpus!r}: the model knows {shape.vocab_size} tokens; "
            f"expected at least the {shards.vocab_size} of the shards. Set vocab_size to that."
        )
