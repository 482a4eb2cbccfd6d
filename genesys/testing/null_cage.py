"""A cage that runs nothing and a scorer that measures nothing: every job is answered at once, with figures made from
the design's id.

For tests and benchmarks of what surrounds the jobs. They share the format of the real answers, integrity included.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from random import Random
from typing import Any

from genesys.checker.request import checker_version, policy_hash
from genesys.gau import UnitTree
from genesys.sandbox import Policy
from genesys.sandbox.layers import LAYERS, Layer
from genesys.verification.jobs import Jobs
from genesys.verification.states import CagedModel

UNIGRAM_BPB = 5.0
N_PARAMS = 1000


class NullCage:
    """Answers the entries of the checker and the training, and those that `NullScorer` asks for.

    Args:
        seconds: How long each job pretends to take.
    """

    def __init__(self, *, seconds: float = 0.0) -> None:
        self._seconds = seconds

    async def run(self, entry: str, request: Mapping[str, Any], policy: Policy) -> dict[str, Any]:
        """Answer one job; see `genesys.sandbox.Cage`."""
        await asyncio.sleep(self._seconds)
        tree = UnitTree.from_json(request["tree"])
        answers = {"check": _check, "train": _train, "evaluate": _evaluate, "probe": _probe}
        return answers[entry.partition(":")[2]](tree, request)

    async def layers(self) -> Mapping[Layer, str]:
        """No layer is in force; see `genesys.sandbox.Cage`."""
        return dict.fromkeys(LAYERS, "nothing is run")


class NullScorer:
    """Asks the cage for the figures that the real scorer computes itself. Only for a `NullCage`."""

    async def prepare(self, jobs: Jobs) -> None:
        """See `genesys.verification.Scorer`."""

    async def text(self, jobs: Jobs, model: CagedModel) -> dict[str, Any]:
        """See `genesys.verification.Scorer`."""
        return await jobs.run("evaluate", "null:evaluate", {"tree": model.tree}, Policy())

    async def tasks(self, jobs: Jobs, model: CagedModel) -> dict[str, Any]:
        """See `genesys.verification.Scorer`."""
        return {"metrics": {}}

    async def probes(self, jobs: Jobs, design_id: str) -> dict[str, Any]:
        """See `genesys.verification.Scorer`."""
        request = {"tree": jobs.request.tree, "probes": jobs.request.scale["probes"]}
        return await jobs.run("probe", "null:probe", request, Policy())


def quality(design: str) -> float:
    """What a design gains on the unigram model, in bits per byte: between 1 and 2, always the same for a design."""
    return 1.0 + Random(design).random()


def _check(tree: UnitTree, request: Mapping[str, Any]) -> dict[str, Any]:
    sizes = {
        scale["name"]: {
            "vocab_size": request["vocab_size"],
            "d_model": scale["d_model"],
            "n_blocks": scale["n_blocks"],
            "n_params": N_PARAMS,
            "error": 0.0,
        }
        for scale in request["scales"]
    }
    return {
        "design": tree.design_id,
        "checker": checker_version(),
        "policy": policy_hash(request),
        "findings": [],
        "sizes": sizes,
        "stages": {},
        "measures": {},
        "behaviour": {"fingerprint": "", "sketch": []},
    }


def _train(tree: UnitTree, request: Mapping[str, Any]) -> dict[str, Any]:
    weights = Path(request["out"]) / "weights.safetensors"
    weights.write_bytes(_weights(tree))
    return _common(tree) | {
        "weights": str(weights),
        "n_params": N_PARAMS,
        "n_tokens": request["scale"]["n_tokens"],
        "tokens_per_s": 1.0,
    }


def _evaluate(tree: UnitTree, request: Mapping[str, Any]) -> dict[str, Any]:
    return _common(tree) | {
        "untrained_val_loss_nats": 5.5,
        "test_bpb": UNIGRAM_BPB - quality(tree.design_id),
        "test_bpb_se": 0.01,
        "unigram_bpb": UNIGRAM_BPB,
    }


def _weights(tree: UnitTree) -> bytes:
    """A safetensors file of `N_PARAMS` zeros that names the design."""
    tensor = {"dtype": "U8", "shape": [N_PARAMS], "data_offsets": [0, N_PARAMS]}
    header = json.dumps({"__metadata__": {"design_id": tree.design_id}, "zeros": tensor}).encode()
    return len(header).to_bytes(8, "little") + header + bytes(N_PARAMS)


def _common(tree: UnitTree) -> dict[str, Any]:
    return {
        "design_id": tree.design_id,
        "weights_sha256": hashlib.sha256(_weights(tree)).hexdigest(),
        "shards_hash": "null",
        "val_loss_nats": 3.5 - quality(tree.design_id),
    }


def _probe(tree: UnitTree, request: Mapping[str, Any]) -> dict[str, Any]:
    def result(name: str) -> dict[str, float]:
        return {"accuracy": Random(f"{name}/{tree.design_id}").random(), "se": 0.01, "chance": 0.1}

    return {"design_id": tree.design_id, "probes": {name: result(name) for name in request["probes"]}}
