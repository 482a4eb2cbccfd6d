"""The evaluation and the probes as entries of caged child processes: JSON in, JSON out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from genesys.evaluate.bits import bits_per_byte, mean_loss, token_nats, unigram_nats
from genesys.evaluate.splits import open_splits, validation_rows
from genesys.evaluate.weights import load_weights
from genesys.gau import UnitTree
from genesys.ladder import Scale
from genesys.model import ModelShape, build_model

MAX_TEST_BYTES = 65_536


def evaluate(request: dict[str, Any]) -> dict[str, Any]:
    """Measure saved weights on held-out text.

    Args:
        request: `tree`, `shape`, `scale`, `shards`, `seed` as for the training; `weights` (path of the safetensors
            file), `n_threads`, and `max_test_bytes` (whole documents of the test split up to this size are read).

    Returns:
        The hash of the weights that were read, the validation loss on the trainer's rows, the same loss of an
        untrained copy, and bits per byte on the test split with a standard error, beside the unigram model's.

    Raises:
        JobFailed: The weights or the shards are not what they should be, or a loss is not finite.
    """
    torch.set_num_threads(int(request.get("n_threads", 1)))
    tree, shape = UnitTree.from_json(request["tree"]), ModelShape(**request["shape"])
    scale = Scale(**request["scale"])
    context = scale.context
    splits = open_splits(Path(request["shards"]))
    rows = validation_rows(splits.tokens("val"), context)
    model = build_model(tree, shape, seed=int(request["seed"]), embedding_std=scale.embedding_std).eval()
    untrained_val_loss_nats = mean_loss(model, rows)
    weights_sha256 = load_weights(model, Path(request["weights"]), design_id=tree.design_id)
    documents = splits.documents("test", int(request.get("max_test_bytes", MAX_TEST_BYTES)))
    test = bits_per_byte(token_nats(model, documents, context), documents)
    unigram = bits_per_byte(unigram_nats(splits.tokens("train"), documents, shape.vocab_size), documents)
    return {
        "weights_sha256": weights_sha256,
        "design_id": tree.design_id,
        "shards_hash": splits.hash,
        "val_loss_nats": mean_loss(model, rows),
        "untrained_val_loss_nats": untrained_val_loss_nats,
        "test_bpb": test.value,
        "test_bpb_se": test.se,
        "unigram_bpb": unigram.value,
        "n_test_bytes": test.n_bytes,
        "n_test_documents": test.n_documents,
    }


def probe(request: dict[str, Any]) -> dict[str, Any]:
    """Train and test fresh copies of a design's block on synthetic tasks.

    Args:
        request: `tree`, `probes` (their names), `seed`, `n_threads`.

    Returns:
        `probes`: for each probe, by name, what `genesys.evaluate.probes.ProbeResult` holds; `design_id`; `seconds`.
    """
    from genesys.evaluate.probes import run_probes

    torch.set_num_threads(int(request.get("n_threads", 1)))
    tree = UnitTree.from_json(request["tree"])
    return {"design_id": tree.design_id, **run_probes(tree, request["probes"], seed=int(request["seed"]))}
