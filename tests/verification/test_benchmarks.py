"""Benchmarks through the cage: equal to those of the same weights in this process, audited, and out of a job's reach."""

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from genesys.errors import JobFailed
from genesys.evaluate.harness import run_suite
from genesys.evaluate.local import LocalModel
from genesys.evaluate.questions import Batch
from genesys.evaluate.weights import load_weights
from genesys.gau.library import seed_design
from genesys.model import ModelShape, build_model
from genesys.sandbox import ForkCage
from genesys.tokens import load_tokenizer
from genesys.verification import verify
from tests.verification.conftest import PROBE, SCALE, STATES, TRAIN, Honest, Liar

pytestmark = pytest.mark.asyncio(loop_scope="session")

EXTEND = "genesys.evaluate.job:extend"
SUITE = "tasks:\n  - {task: arc_easy}\n  - {task: gsm8k, n_shot: 0, limit: 3}\n"


@pytest.fixture
def suite(tmp_path: Path) -> dict[str, Any]:
    """A suite of a multiple-choice task and of one with free answers, on documents of our own."""
    letters, data = "ABCD", tmp_path / "data"
    questions = [
        {
            "id": str(i), "question": f"Which word number {i} is it?", "answerKey": letters[i % 4],
            "choices": {"text": [f"word {i + j}" * (1 + j % 2) for j in range(4)], "label": list(letters)},
        }
        for i in range(12)
    ]  # fmt: skip
    sums = [{"question": f"What is {i} plus {i}?", "answer": f"It is {2 * i}\n#### {2 * i}"} for i in range(4)]
    for name, split, rows in (("arc_easy", "test", questions), ("gsm8k", "test", sums), ("gsm8k", "train", sums)):
        (data / name).mkdir(parents=True, exist_ok=True)
        (data / name / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "suite.yaml").write_text(SUITE)
    scale = replace(SCALE, suite=str(tmp_path / "suite.yaml"))
    return {"scale": asdict(scale), "tasks_data": str(data)}


async def test_the_cage_gives_the_same_scores_as_the_weights_in_this_process(
    honest: Honest, cage: ForkCage, tmp_path: Path, suite: dict[str, Any]
) -> None:
    spy = Liar(cage)
    report = await verify(honest.again(tmp_path, **suite), spy)
    model = build_model(seed_design("gpt"), ModelShape(vocab_size=257, d_model=16, n_blocks=1)).eval()
    load_weights(model, Path(report.weights), design_id=report.design_id)

    def logits(batch: Batch) -> np.ndarray:
        with torch.no_grad():
            return model(torch.from_numpy(batch.inputs_BL)).numpy()[batch.rows_P, batch.places_P]

    local = LocalModel(logits_fn=logits, context=SCALE.context)
    found = run_suite(
        local, load_tokenizer(Path(honest.request.shards)), suite["scale"]["suite"], data=Path(suite["tasks_data"])
    )
    figures = {name: value for name, value in report.metrics.items() if name.startswith("task_")}
    assert figures == pytest.approx(found.metrics(), abs=1e-5) and figures["task_arc_easy_chance"] == 0.25
    assert (
        0 < figures["task_arc_easy_prob"] < 1 and len(report.details["benchmarks"]["tasks"]["arc_easy"]["values"]) == 12
    )
    assert report.details["benchmarks"]["audit"]["n_places"] >= 12
    assert {EXTEND, STATES} <= set(spy.entries)
    shown = {path for policy in spy.policies for path in (*policy.readable, *policy.writable)}
    assert not [path for path in shown if path.startswith(suite["tasks_data"])], "no job can read the benchmarks"


async def test_a_generated_text_that_is_not_the_first_choice_is_refused(
    honest: Honest, cage: ForkCage, tmp_path: Path, suite: dict[str, Any]
) -> None:
    """Law 5."""

    def change(answer: dict[str, Any], folder: Path) -> None:
        tokens = np.fromfile(folder / "tokens", dtype="<i4")
        ((tokens + 1) % 257).astype("<i4").tofile(folder / "tokens")

    with pytest.raises(JobFailed, match="below the highest logit") as caught:
        await verify(honest.again(tmp_path, **suite), Liar(cage, {EXTEND: change}))
    assert caught.value.cause == "integrity"


@pytest.mark.parametrize(("value", "message"), [(-1, "tokens outside 0 to 256"), (257, "tokens outside 0 to 256")])
async def test_a_generated_text_of_no_tokens_is_refused(
    value: int, message: str, honest: Honest, cage: ForkCage, tmp_path: Path, suite: dict[str, Any]
) -> None:
    def change(answer: dict[str, Any], folder: Path) -> None:
        tokens = np.fromfile(folder / "tokens", dtype="<i4")
        np.full_like(tokens, value).tofile(folder / "tokens")

    with pytest.raises(JobFailed, match=message):
        await verify(honest.again(tmp_path, **suite), Liar(cage, {EXTEND: change}))


async def test_a_suite_without_data_is_no_designs_fault_and_costs_no_training(
    honest: Honest, cage: ForkCage, tmp_path: Path, suite: dict[str, Any]
) -> None:
    spy = Liar(cage)
    ask = honest.again(tmp_path, **suite | {"tasks_data": str(tmp_path / "nowhere")})
    with pytest.raises(JobFailed, match="nowhere") as caught:
        await verify(ask, spy)
    assert caught.value.cause == "infrastructure" and TRAIN not in spy.entries and PROBE not in spy.entries
