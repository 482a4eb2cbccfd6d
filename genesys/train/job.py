"""The training as an entry of a caged child process: JSON in, JSON out, weights as a file."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
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
from genesys.train.progress import Cost
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
            (30; null for never), `n_processes` (1), `dtype` and `compile` ("auto"), `memory_mb` and `gpu_share` (see
            `Means`; "dtype" is its precision), `reference_curve` and `limit_s` (see `Guard`; of the whole grid).

    Returns:
        Path and SHA-256 of the weights, the id of the design that was built, losses in nats per token, what the training
        cost, and the loss curve; see `TrainingResult`. Where the scale has a grid of learning rates, the best of its
        trainings at the cost of all that were tried, `lr_factor`, `rates` [factor, validation loss] and `failed_rates`
        {factor: why it failed}. Only the train and val splits are read.

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
            gpu_share=float(request.get("gpu_share", 1.0)),
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
        return _train(tree, shape, _at_rate(plan, grid[0], plan.out), Cost())
    tried: list[dict[str, Any]] = []
    failed: dict[float, JobFailed] = {}
    costs: list[Mapping[str, float]] = []
    for i, factor in enumerate(grid):
        part = _at_rate(plan, factor, plan.out / f"rate-{factor:g}")
        part = replace(part, limit_s=_share_s(plan.limit_s, costs, len(grid) - i))
        part.out.mkdir(exist_ok=True)
        cost = Cost()
        try:
            answer = _finished(part) or _train(tree, shape, part, cost)
            tried.append({**answer, "lr_factor": factor})
            costs.append(answer)
        except JobFailed as failure:
            if failure.cause not in _RUN_AWAY:
                raise
            failed[factor] = failure
            costs.append(cost.figures())
    if not tried:
        raise next(iter(failed.values()))
    return {} if plan.rank.index else _keep_best(plan, tried, failed, costs)


def _at_rate(plan: TrainingPlan, factor: float, out: Path) -> TrainingPlan:
    return replace(
        plan,
        scale=replace(plan.scale, peak_lr=plan.scale.peak_lr * factor, lr_grid=(1.0,)),
        out=out,
        report_in=plan.out,
    )


def _share_s(limit_s: float, costs: Sequence[Mapping[str, float]], n_rates_left: int) -> float:
    """What the next of a grid's trainings may take of the time that the others left; 0 for any."""
    left_s = limit_s - sum(
        cost.get("seconds", 0.0) for cost in costs
    )  # only the first rank, which judges the time, knows all
    return max(left_s, 1e-3) / n_rates_left if limit_s else 0.0


def _keep_best(
    plan: TrainingPlan,
    tried: Sequence[Mapping[str, Any]],
    failed: Mapping[float, JobFailed],
    costs: Sequence[Mapping[str, float]],
) -> dict[str, Any]:
    """The best training's answer at the cost of all, those that ran away too; the others' files go."""
    best = min(tried, key=lambda answer: answer["val_loss_nats"])
    weights = plan.out / WEIGHTS_FILE
    copied = plan.out / f".{WEIGHTS_FILE}"  # the cage lets no file be renamed from folder to folder
    shutil.copyfile(best["weights"], copied)
    copied.rename(weights)
    answer = {
        **best,
        **{key: sum(cost[key] for cost in costs) for key in ("seconds", "flops", "gpu_seconds")},
        "peak_memory_mb": max(cost["peak_memory_mb"] for cost in costs),
        "weights": str(weights),
        "rates": [[one["lr_factor"], one["val_loss_nats"]] for one in tried],
        "failed_rates": {f"{factor:g}": str(failure) for factor, failure in failed.items()},
    }
    _write_finished(plan, answer)
    for folder in plan.out.glob("rate-*"):
        shutil.rmtree(folder, ignore_errors=True)
    return answer


def _train(tree: UnitTree, shape: ModelShape, plan: TrainingPlan, cost: Cost) -> dict[str, Any]:
    """Do one process's part of one training; the first one's answer is the training's."""
    model = build_model(tree, shape, seed=plan.seed, embedding_std=plan.scale.embedding_std)
    init_sha256 = weights_digest(model)
    result = train_model(model, plan, cost)
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
        **cost.figures(),
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


def _fingerprint(request: Mapping[str, Any], tree: UnitTree, shards: Shards) -> str:
    decisive = [tree.design_id, *(request.get(key) for key in _DECISIVE), shards.hash]
    return hashlib.sha256(json.dumps(decisive, sort_keys=True).encode()).hexdigest()


def _check_vocabulary(shape: ModelShape, shards: Shards) -> None:
    if shape.vocab_size < shards.vocab_size:
        raise ConfigError(
            f"Cannot train on shards {shards.corpus!r}: the model knows {shape.vocab_size} tokens; "
            f"expected at least the {shards.vocab_size} of the shards. Set vocab_size to that."
        )
