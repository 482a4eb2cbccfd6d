"""The evaluation and the probes as entries of caged child processes: JSON and rows of tokens in, raw logits out.

Nothing here computes a figure that counts: generated code shares this process and could forge it. The trusted side
(`genesys.verification`) draws the rows, keeps the targets, and computes the figures from the logits.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from genesys.evaluate.probes import probe_logits, probe_task, train_probe
from genesys.evaluate.weights import load_weights
from genesys.gau import UnitTree
from genesys.model import ModelShape, build_model

_BATCH_TOKENS = 2048


def logits(request: dict[str, Any]) -> dict[str, Any]:
    """Run a model over rows of tokens and leave its raw logits.

    Args:
        request: `tree`, `shape`, `seed`, `embedding_std`, `n_threads`; `probe`: whether tokens are embedded as a
            probe's are; `weights`: path of the safetensors file; `passes`: what to run, in this order, each with
            `rows` (path of raw little-endian int32, row by row), `length` (tokens in a row), `logits` (path to
            write) and `trained` (false: with the initial weights; those come first).

    Returns:
        `design_id` and `weights_sha256` of what was built and read. Each `logits` file holds raw little-endian
        float32 of shape (rows, length, V).

    Raises:
        JobFailed: The weights are not those of the design.
    """
    torch.set_num_threads(int(request.get("n_threads", 1)))
    tree, shape = UnitTree.from_json(request["tree"]), ModelShape(**request["shape"])
    model = build_model(tree, shape, seed=int(request["seed"]), embedding_std=float(request["embedding_std"])).eval()
    weights_sha256 = ""
    for item in request["passes"]:
        if item["trained"] and not weights_sha256:
            weights_sha256 = load_weights(model, Path(request["weights"]), design_id=tree.design_id)
        _write_logits((lambda tokens: probe_logits(model, tokens)) if request.get("probe") else model, item)
    return {"design_id": tree.design_id, "weights_sha256": weights_sha256}


@torch.no_grad()
def _write_logits(answer: Callable[[Tensor], Tensor], item: dict[str, Any]) -> None:
    length = int(item["length"])
    rows_NL = torch.from_numpy(np.fromfile(item["rows"], dtype="<i4").astype(np.int64)).view(-1, length)
    with open(item["logits"], "wb") as file:
        for part_BL in rows_NL.split(max(1, _BATCH_TOKENS // length)):
            answer(part_BL).float().contiguous().numpy().astype("<f4", copy=False).tofile(file)


def probe(request: dict[str, Any]) -> dict[str, Any]:
    """Train fresh copies of a design's block on synthetic tasks.

    Args:
        request: `tree`, `probes` (their names), `seed`, `n_threads`, `out` (folder for `<name>.safetensors`).

    Returns:
        `probes`: for each probe, by name, what `genesys.evaluate.probes.ProbeTraining` holds; `design_id`; `seconds`.
    """
    torch.set_num_threads(int(request.get("n_threads", 1)))
    started = time.monotonic()
    tree, out, seed = UnitTree.from_json(request["tree"]), Path(request["out"]), int(request["seed"])
    trained = {
        name: asdict(train_probe(tree, probe_task(name), out / f"{name}.safetensors", seed=seed))
        for name in request["probes"]
    }
    return {"design_id": tree.design_id, "probes": trained, "seconds": time.monotonic() - started}
