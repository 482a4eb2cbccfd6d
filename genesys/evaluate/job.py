"""The evaluation and the probes as entries of caged child processes: JSON and rows of tokens in, hidden states out.

Nothing here computes a figure that counts: generated code shares this process and could forge it. The trusted side
(`genesys.verification`) draws the rows, keeps the targets, and computes the figures from the states.
"""

from __future__ import annotations

import time
from dataclasses import asdict
from pathlib import Path
from typing import IO, Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from genesys.evaluate.probes import probe_hidden, probe_task, train_probe
from genesys.evaluate.weights import load_weights
from genesys.gau import UnitTree
from genesys.model import GAM, ModelShape, build_model

_ROWS_EXTENDED = 64


def states(request: dict[str, Any]) -> dict[str, Any]:
    """Run a model over rows of tokens and leave its hidden states after the last norm.

    Args:
        request: `tree`, `shape`, `seed`, `embedding_std`, `n_threads`; `probe`: the probe that the
            model is of, or ""; `weights`: path of the safetensors file; `batches`: what to run, in this order, each as
            [rows, length, places asked, whether with the trained weights], untrained first; `rows` and `places`: paths of all batches' tokens and
            of their asked places (index into the rows laid end to end), raw little-endian int32; `states` and
            `embedding`: paths to write.

    Returns:
        `design_id` and `weights_sha256` of what was built and read. `states` then holds raw little-endian float32, (P, D)
        of each batch in turn; `embedding` the initial embedding, (V, D), if a batch asked for the initial weights.

    Raises:
        JobFailed: The weights are not those of the design.
    """
    model, device = _model(request)
    design_id, weights_sha256 = UnitTree.from_json(request["tree"]).design_id, ""
    if not all(trained for *_, trained in request["batches"]):
        Path(request["embedding"]).write_bytes(_bytes(model.embedding.weight.detach()))
    with (
        open(request["rows"], "rb") as rows,
        open(request["places"], "rb") as places,
        open(request["states"], "wb") as out,
    ):
        for n_rows, length, n_places, trained in request["batches"]:
            if trained and not weights_sha256:
                weights_sha256 = load_weights(model, Path(request["weights"]), design_id=design_id)
            tokens_BL = _ints(rows, n_rows * length).view(n_rows, length).to(device)
            states_ND = _states(model, tokens_BL, probe=request["probe"])
            out.write(_bytes(states_ND[_ints(places, n_places).to(device)]))
    return {"design_id": design_id, "weights_sha256": weights_sha256}


def _model(request: dict[str, Any]) -> tuple[GAM, torch.device]:
    """The model of a request with its initial weights, in evaluation mode, where there is one on the accelerator."""
    torch.set_num_threads(int(request.get("n_threads", 1)))
    tree, shape = UnitTree.from_json(request["tree"]), ModelShape(**request["shape"])
    model = build_model(tree, shape, seed=int(request["seed"]), embedding_std=float(request["embedding_std"])).eval()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return model.to(device), device


@torch.no_grad()
def extend(request: dict[str, Any]) -> dict[str, Any]:
    """Continue texts with the model's first choices.

    Args:
        request: As for `states`, but for `rows`: path of the prompts laid end to end, raw little-endian int32; with
            `lengths` of each, `n_tokens` to add, and `out`: path to write.

    Returns:
        Nothing; `out` then holds raw little-endian int32, (N, n_tokens).
    """
    model, device = _model(request)
    load_weights(model, Path(request["weights"]), design_id=UnitTree.from_json(request["tree"]).design_id)
    with open(request["rows"], "rb") as rows:
        prompts = [_ints(rows, length) for length in request["lengths"]]
    added = torch.zeros(len(prompts), request["n_tokens"], dtype=torch.long)
    order = sorted(range(len(prompts)), key=lambda i: len(prompts[i]))
    for part in (order[i : i + _ROWS_EXTENDED] for i in range(0, len(order), _ROWS_EXTENDED)):
        added[part] = _extend(model, [prompts[i].to(device) for i in part], request["n_tokens"]).cpu()
    Path(request["out"]).write_bytes(added.numpy().astype("<i4").tobytes())
    return {}


def _extend(model: GAM, prompts: list[Tensor], n_tokens: int) -> Tensor:
    """The first choices after each prompt, (B, n_tokens); what stands right of a row's end, a causal model does not see."""
    tokens_BL = nn.utils.rnn.pad_sequence(prompts, batch_first=True)
    tokens_BL = F.pad(tokens_BL, (0, n_tokens))
    ends_B, every_B = (
        torch.tensor([len(prompt) for prompt in prompts], device=tokens_BL.device),
        torch.arange(len(prompts)),
    )
    for step in range(n_tokens):
        places_B = ends_B + step
        logits_BLV = model(tokens_BL[:, : int(places_B.max())])
        tokens_BL[every_B, places_B] = logits_BLV[every_B, places_B - 1].argmax(-1)
    return torch.stack([row[end : end + n_tokens] for row, end in zip(tokens_BL, ends_B, strict=True)])


@torch.no_grad()
def _states(model: GAM, tokens_BL: Tensor, *, probe: str) -> Tensor:
    """The states after the last norm at every place, (N, D), N = B L."""
    hidden_BLD = (
        probe_hidden(model, probe_task(probe), tokens_BL) if probe else model.hidden(model.embedding(tokens_BL))
    )
    states_BLD: Tensor = model.norm(hidden_BLD)
    return states_BLD.flatten(0, 1)


def _bytes(tensor: Tensor) -> bytes:
    """The numbers of a tensor as little-endian float32."""
    return tensor.float().cpu().contiguous().numpy().astype("<f4", copy=False).tobytes()


def _ints(file: IO[bytes], n: int) -> Tensor:
    return torch.from_numpy(np.frombuffer(file.read(4 * n), dtype="<i4").astype(np.int64))


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
