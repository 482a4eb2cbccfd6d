"""A report that holds, with its weights, made without a training."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save

from genesys.gau.library import seed_design
from genesys.ladder import CPU_SCALES
from genesys.verification import VerificationReport, recipe_hash

DESIGN = seed_design("gpt").design_id
DATA = "d" * 64


def make_weights(path: Path, *, design_id: str = DESIGN, value: float = 1.0) -> str:
    """Write a small safetensors file; gives its SHA-256."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(save({"w": np.full(6, value, np.float32)}, {"design_id": design_id}))
    return hashlib.sha256(path.read_bytes()).hexdigest()


def make_report(folder: Path, **changes: Any) -> VerificationReport:
    """A report of schema 2 of GPT at cpu-1, whose weights lie below `folder`."""
    weights = folder / "training" / "weights.safetensors"
    sha256 = make_weights(weights)
    scale = json.loads(json.dumps(asdict(CPU_SCALES[0])))
    same = {"design_id": DESIGN, "weights_sha256": sha256, "shards_hash": DATA, "val_loss_nats": 2.0}
    train = same | {
        "curve": [[512, 5.5], [1024, 3.0], [2048, 2.5]], "n_steps": 280, "n_resumed_steps": 0, "dtype": "fp32", "compiled": "no: too short",
        "seconds": 9.0, "tokens_per_s": 20_000.0, "peak_memory_mb": 300.0, "n_params": 6,
    }  # fmt: skip
    evaluated = same | {
        "untrained_val_loss_nats": 5.6, "test_bpb": 3.0, "test_bpb_se": 0.03, "unigram_bpb": 4.6,
    }  # fmt: skip
    tasks = {
        "task_blimp": 0.61, "task_blimp_se": 0.01, "task_blimp_chance": 0.5, "task_blimp_majority": 0.5,
        "task_blimp_prob": 0.55, "task_blimp_prob_se": 0.005,
    }  # fmt: skip
    probe = {"probe_recall": 0.99, "probe_recall_se": 0.002, "probe_recall_chance": 0.0625}
    probed = {"probes": {"recall": {"accuracy": 0.99, "se": 0.002, "chance": 0.0625}}}
    measured = ("val_loss_nats", "untrained_val_loss_nats", "test_bpb", "test_bpb_se", "unigram_bpb")
    fields: dict[str, Any] = {
        "design_id": DESIGN, "scale": "cpu-1", "seed": 0, "recipe_hash": recipe_hash(scale), "data_hash": DATA,
        "metrics": {key: evaluated[key] for key in measured} | tasks | probe | {"n_params": 6.0, "tokens_per_s": 2e4},
        "weights": str(weights), "weights_sha256": sha256, "n_tokens": 143_360, "seconds": 15.0,
        "config": {
            "shape": {"vocab_size": 257, "d_model": 64, "n_blocks": 2}, "scale": scale, "n_threads": 1, "seed": 0,
        },
        "software": {"torch": "2.13.0"}, "hardware": {"machine": "x86_64", "cpus": 2},
        "details": {"train": train, "evaluate": evaluated, "benchmarks": {"metrics": tasks, "absent": {}}, "probe": probed},
        "cage": {"landlock": "", "user-namespace": "root needs none"},
        "cost": {"n_tokens": 143_360.0, "flops": 1.5e11, "seconds": 9.0, "gpu_seconds": 0.0, "peak_memory_mb": 300.0},
    }  # fmt: skip
    return VerificationReport(**(fields | changes))
