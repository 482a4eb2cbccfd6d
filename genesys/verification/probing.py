"""Synthetic probes: trained in the cage, scored outside.

The child that trains never sees the test rows, the child that answers them never sees the answers, and a third one is
asked about cut rows (`genesys.verification.audit`). A probe's answer is a function of its row, so a unit that carries
the task's algorithm in its source would pass without learning it: that is a property of the design, not a forgery.
"""

from __future__ import annotations

import json
import math
import os
import tempfile
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from genesys.errors import JobFailed
from genesys.evaluate.questions import Question
from genesys.evaluate.tasks import (
    NO_ANSWER,
    PROBE_D_MODEL,
    PROBE_EMBEDDING_STD,
    PROBE_N_BLOCKS,
    TASKS,
    Task,
)
from genesys.sandbox.filesystem import shared_folder
from genesys.verification.audit import audit, draw_picks, secret_generator
from genesys.verification.claims import weights_file
from genesys.verification.jobs import Jobs
from genesys.verification.states import CagedModel, Inquiry, ask

PROBE_ENTRY = "genesys.evaluate.job:probe"
N_TEST_ROWS = 256
PROBES_VERSION = 3
"""Counts changes of the probes that move their results; kept results of another version are measured anew."""
_MAX_WEIGHTS_BYTES = 64 * 2**20

Results = dict[str, dict[str, Any]]


async def score_probes(jobs: Jobs, design_id: str) -> dict[str, Any]:
    """The results of the scale's probes, from the cache those that it holds for this design and seed.

    Returns:
        `probes`: for each, by name, its `accuracy` on fresh rows at the places asked, the standard error `se` over rows,
        the analytic `chance`, the hash of its weights, and what the training said; `cached`: names from the cache.

    Raises:
        JobFailed: A training or a job failed, or the audit did not hold.
    """
    request = jobs.request
    names = [str(name) for name in request.scale["probes"]]
    kept = {name: found for name in names if (found := _kept(request.probe_cache, _key(jobs, design_id, name)))}
    missing = [name for name in names if name not in kept]
    measured = await _measure(jobs, design_id, missing) if missing else {}
    for name, result in measured.items():
        _keep(request.probe_cache, _key(jobs, design_id, name), result)
    return {"probes": kept | measured, "cached": sorted(kept)}


async def _measure(jobs: Jobs, design_id: str, names: list[str]) -> Results:
    request = jobs.request
    with shared_folder("genesys-probe-") as folder:
        training = {
            "tree": request.tree,
            "probes": names,
            "seed": request.seed,
            "n_threads": request.n_threads,
            "out": str(folder),
        }
        n_bytes = len(names) * _MAX_WEIGHTS_BYTES
        answer = await jobs.write("probe", PROBE_ENTRY, training, folder=folder, n_bytes=n_bytes, readable=())
        if answer["design_id"] != design_id:
            raise JobFailed("integrity", f"Cannot use the probes: they built {answer['design_id']}, not {design_id}.")
        return {
            name: await _score(jobs, design_id, TASKS[name], folder / f"{name}.safetensors")
            | {"training": dict(answer["probes"][name])}
            for name in names
        }


async def _score(jobs: Jobs, design_id: str, task: Task, weights: Path) -> dict[str, Any]:
    """Accuracy of a probe's weights on rows that follow from the seed, audited at places that do not."""
    request, rng = jobs.request, secret_generator()
    model = CagedModel(
        tree=request.tree,
        shape={"vocab_size": task.vocab_size, "d_model": PROBE_D_MODEL, "n_blocks": PROBE_N_BLOCKS},
        seed=request.seed,
        embedding_std=PROBE_EMBEDDING_STD,
        weights=weights,
        weights_sha256=weights_file(weights, max_bytes=_MAX_WEIGHTS_BYTES).sha256,
        design_id=design_id,
        n_threads=request.n_threads,
        probe=task.name,
    )
    tokens, answers = task.test_rows(N_TEST_ROWS, model.weights_sha256)
    asked = answers != NO_ANSWER
    questions = [Question(*row) for row in zip(tokens, np.where(asked, answers, 0), strict=True)]
    inquiry = Inquiry(questions=questions, picks=draw_picks(rng, list(asked)), share=False)
    (reading,) = await ask(jobs, "probe", model, [inquiry])
    audited = await audit(jobs, "probe", model, [inquiry], [reading], rng)
    right = np.array([answer.right_T for answer in reading.answers])
    accuracies = (right & asked).sum(1) / asked.sum(1)
    return {
        "accuracy": float(accuracies.mean()),
        "se": float(accuracies.std(ddof=1) / math.sqrt(len(accuracies))),
        "chance": task.chance,
        "weights_sha256": model.weights_sha256,
        "audit": asdict(audited),
    }


def _key(jobs: Jobs, design_id: str, name: str) -> str:
    return f"{design_id}-{name}-v{PROBES_VERSION}-{jobs.request.seed}.json"


def _kept(cache: str, key: str) -> dict[str, Any] | None:
    if not cache:
        return None
    try:
        kept: dict[str, Any] = json.loads(Path(cache, key).read_text(encoding="utf-8"))
        return kept
    except (OSError, ValueError):
        return None  # not there, or cut short: measured again


def _keep(cache: str, key: str, result: Mapping[str, Any]) -> None:
    if not cache:
        return
    Path(cache).mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile("w", encoding="utf-8", dir=cache, suffix=".tmp", delete=False) as file:
        file.write(json.dumps(result))
    os.replace(file.name, Path(cache, key))
