"""The training as an entry of a caged child process: JSON in, JSON out, weights as a file."""

from __future__ import annotations

import hashlib
import json
import platform
import shutil
import time
from collections.abc import Mapping
from dataclasses import asdict, replace
from importlib import metadata
from pathlib import Path
from typing import Any

import torch
import torch._dynamo  # counting FLOPs imports it: a second in every child, unless it is here

from genesys.errors import ConfigError, FailureCause, JobFailed
from genesys.gau import UnitTree
from genesys.ladder import Scale
from genesys.model import ModelShape, build_model
from genesys.train.checkpoint import drop_checkpoints, save_weights, weights_digest
from genesys.train.compilation import keep_artefacts
from genesys.train.data.shards import Shards, load_shards
from genesys.train.execution import Means
from genesys.train.failures import failure_of
from genesys.train.ranks import run_ranks
from genesys.train.trainer import TrainingPlan, train_model, validation_loss
from genesys.train.world import Rank

INIT_RULE = "genesys.model.gam.initialise v1; streams by order and shape"
WEIGHTS_FILE = "weights.safetensors"
FINISHED_FILE = "trained.json"
_RUN_AWAY: frozenset[FailureCause] = frozenset({"non-finite", "spike", "diverged"})
"""What all processes of a training find together, so that they go on together."""
_DECISIVE = ("shape", "scale", "seed", "recipe", "n_threads", "n_processes", "dtype", "compile", "memory_mb")


def train(request: dict[str, Any]) -> dict[str, Any]:
    """Pre-train a design at a scale.

    Args:
        request: `tree` (UnitTree.to_json), `shape` {vocab_size, d_model, n_blocks}, `scale` (Scale's fields), `shards`
            (folder), `seed`, `recipe` (its hash), `out` (folder). May be left out: `n_threads` (1), `checkpoint_every_s`
            (30; null for never), `n_processes` (1), `dtype` and `compile` ("auto") and `memory_mb` (see `Means`; "dtype" is
            its precision), `reference_curve` and `limit_s` (see `Guard`).

    Returns:
        Path and SHA-256 of the weights, the id of the design that was built, losses in nats per token, what the training
        cost, and the loss curve; see `TrainingResult`. Where the scale has a grid of learning rates, the best of its
        trainings at the cost of all, `lr_factor` and `rates` [factor, validation loss]. Only the train and val splits are read.

    Raises:
        JobFailed: The guard stopped the training, or it failed for a reason that has a cause of its own.
        ConfigError: The request cannot be met.
    """
    tree = UnitTree.from_json(request["tree"])
    shards, out = load_shards(Path(request["shards"]), splits=("train", "val")), Path(request["out"])
    shape, n_processes = ModelShape(**request["shape"]), int(request.get("n_processes", 1))
    _check_vocabulary(shape, shards)
    out.mkdir(parents=True, exist_ok=True)
    plan = TrainingPlan(
        scale=Scale(**request["scale"]),
        seed=int(request["seed"]),
        shards=shards,
        out=out,
        fingerprint=_fingerprint(request, tree, shards),
        design_id=tree.design_id,
        checkpoint_every_s=request.get("checkpoint_every_s", 30.0),
        means=Means(
            precision=request.get("dtype", "auto"),
            compile=request.get("compile", "auto"),
            memory_mb=request.get("memory_mb"),
        ),
        reference_curve=tuple((float(n), float(loss)) for n, loss in request.get("reference_curve") or ()),
        limit_s=float(request.get("limit_s", 0.0)),
    )

    def work(rank: Rank) -> dict[str, Any]:
        torch.set_num_threads(int(request.get("n_threads", 1)))
        return _train_grid(tree, shape, replace(plan, rank=rank))

    compiled = keep_artefacts(out, (unit.id for unit in tree.units()))
    try:
        answer = _finished(plan) or (run_ranks(work, n_processes, out / ".ranks") if n_processes > 1 else work(Rank()))
        shutil.rmtree(compiled, ignore_errors=True)
        return answer
    except Exception as error:
        failure = failure_of(error)
        if failure is None or failure is error:
            raise
        raise failure from error


def _train_grid(tree: UnitTree, shape: ModelShape, plan: TrainingPlan) -> dict[str, Any]:
    """Train at each learning rate of the scale's grid, in full, and keep the one with the lowest validation loss.

    A rate at which the losses run away is out; the training fails if all do.
    """
    grid = plan.scale.lr_grid
    if len(grid) == 1:
        return _train(tree, shape, _at_rate(plan, grid[0], plan.out))
    tried: list[dict[str, Any]] = []
    failures: list[JobFailed] = []
    for factor in grid:
        part = _at_rate(plan, factor, plan.out / f"rate-{factor:g}")
        part.out.mkdir(exist_ok=True)
        try:
            tried.append({**(_finished(part) or _train(tree, shape, part)), "lr_factor": factor})
        except JobFailed as failure:
            if failure.cause not in _RUN_AWAY:
                raise
            failures.append(failure)
    if not tried:
        raise failures[0]
    return {} if plan.rank.index else _keep_best(plan, tried)


def _at_rate(plan: TrainingPlan, factor: float, out: Path) -> TrainingPlan:
    return replace(plan, scale=replace(plan.scale, peak_lr=plan.scale.peak_lr * factor), out=out, report_in=plan.out)


def _keep_best(plan: TrainingPlan, tried: list[dict[str, Any]]) -> dict[str, Any]:
    """The best training's answer at the cost of all; the others' files go."""
    best = min(tried, key=lambda answer: answer["val_loss_nats"])
    weights = plan.out / WEIGHTS_FILE
    copied = plan.out / f".{WEIGHTS_FILE}"  # the cage lets no file be renamed from folder to folder
    shutil.copyfile(best["weights"], copied)
    copied.rename(weights)
    costs = {key: sum(answer[key] for answer in tried) for key in ("seconds", "flops", "gpu_seconds")}
    rates = [[answer["lr_factor"], answer["val_loss_nats"]] for answer in tried]
    answer = {**best, **costs, "weights": str(weights), "rates": rates}
    _write_finished(plan, answer)
    for folder in plan.out.glob("rate-*"):
        shutil.rmtree(folder, ignore_errors=True)
    return answer


def _train(tree: UnitTree, shape: ModelShape, plan: TrainingPlan) -> dict[str, Any]:
    """Do one process's part of one training; the first one's answer is the training's."""
    started = time.monotonic()
    model = build_model(tree, shape, seed=plan.seed, embedding_std=plan.scale.embedding_std)
    init_sha256 = weights_digest(model)
    result = train_model(model, plan)
    if plan.rank.index:
        return {}
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


def software() -> Mapping[str, str]:
    """Versions that a result depends on."""
    packages = {name: metadata.version(name) for name in ("torch", "deepspeed", "numpy", "safetensors")}
    return {"python": platform.python_version(), **packages}


def _fingerprint(request: Mapping[str, Any], tree: UnitTree, shards: Shards) -> str:
    decisive = [tree.design_id, *(request.get(key) for key in _DECISIVE), shards.hash]
    return hashlib.sha256(json.dumps(decisive, sort_keys=True).encode()).hexdigest()


def _check_vocabulary(shape: ModelShape, shards: Shards) -> None:
    if shape.vocab_size < shards.vocab_size:
        raise ConfigError(
            f"Cannot train on shards {shards.corpus!r}: the model knows {shape.vocab_size} tokens; "
            f"expected at least the {shards.vocab_size} of the shards. Set vocab_size to that."
        )
