"""A whole verification through a cage, and what makes it fail."""

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from genesys.errors import ConfigError, JobFailed
from genesys.gau.library import seed_design
from genesys.ladder import CPU_SCALES, Scale
from genesys.train.shards import prepare_shards
from genesys.verification import VerificationReport, VerificationRequest, read_progress, verify
from tests.train.data import small_shards
from tests.verification.subprocess_cage import SubprocessCage

SCALE = Scale(
    name="tiny",
    d_model=16,
    n_blocks=1,
    context=32,
    batch_tokens=128,
    n_tokens=128 * 40,
    peak_lr=1e-2,
    embedding_std=0.1,
)
TRAIN, LOGITS, PROBE = "genesys.train.job:train", "genesys.evaluate.job:logits", "genesys.evaluate.job:probe"


def request(tmp_path: Path, **changes: Any) -> VerificationRequest:
    made = VerificationRequest(
        tree=seed_design("gpt").to_json(),
        shape={"vocab_size": 257, "d_model": 16, "n_blocks": 1},
        scale=asdict(SCALE),
        shards=str(small_shards(tmp_path).path),
        seed=1,
        out=str(tmp_path / "out"),
        probes=False,
    )
    return replace(made, **changes)


async def test_a_verification_gives_a_report_that_survives_json(tmp_path: Path) -> None:
    stages: list[str] = []
    report = await verify(request(tmp_path), SubprocessCage(), on_progress=stages.append)
    assert stages == ["train", "evaluate"]
    assert report.design_id == seed_design("gpt").design_id and report.scale == "tiny" and report.n_tokens == 128 * 40
    metrics = report.metrics
    assert metrics["test_bpb"] < metrics["unigram_bpb"] and metrics["test_bpb_se"] > 0
    assert metrics["val_loss_nats"] < metrics["untrained_val_loss_nats"]
    assert VerificationReport.from_json(json.loads(json.dumps(report.to_json()))) == report
    seen = read_progress(tmp_path / "out")
    assert seen.stage == "evaluate" and seen.n_tokens == report.n_tokens and seen.tokens_per_s > 0


async def test_gpt_on_the_first_rung_beats_the_unigram_model_by_a_bit(tmp_path: Path) -> None:
    scale, shards = CPU_SCALES[0], prepare_shards("python-docs", tmp_path)
    shape = {"vocab_size": shards.vocab_size, "d_model": scale.d_model, "n_blocks": scale.n_blocks}
    ask = request(tmp_path, scale=asdict(scale), shape=shape, shards=str(shards.path))
    metrics = (await verify(ask, SubprocessCage())).metrics
    assert metrics["test_bpb"] < metrics["unigram_bpb"] - 1.0


@pytest.mark.parametrize(
    ("entry", "lie", "message"),
    [
        (TRAIN, {"weights_sha256": "0" * 64}, "their SHA-256 is not the one"),
        (TRAIN, {"val_loss_nats": 0.1}, "integrity-loss"),
        (TRAIN, {"val_loss_nats": "low"}, "integrity-loss"),
        (TRAIN, {"shards_hash": "another"}, "integrity-data"),
        (TRAIN, {"design_id": "another"}, "it built another, asked for"),
        (TRAIN, {"n_tokens": 1}, "n_tokens 1: expected 640 to 640"),
        (TRAIN, {"n_params": 10**9}, "n_params 1000000000: expected 1 to"),
        (LOGITS, {"design_id": "another"}, "the job's design_id is 'another'"),
        (LOGITS, {"weights_sha256": "another"}, "the job's weights_sha256 is 'another'"),
    ],
)
async def test_a_lie_is_an_integrity_failure(entry: str, lie: dict[str, Any], message: str, tmp_path: Path) -> None:
    ask = request(tmp_path, scale=asdict(replace(SCALE, n_tokens=128 * 5)))
    with pytest.raises(JobFailed, match=message) as caught:
        await verify(ask, SubprocessCage({entry: lie}))
    assert caught.value.cause == "integrity"


async def test_no_part_starts_after_the_deadline(tmp_path: Path) -> None:
    cage = SubprocessCage()
    with pytest.raises(JobFailed, match="are over") as caught:
        await verify(request(tmp_path, deadline_s=0.0), cage)
    assert caught.value.cause == "timeout" and cage.entries == []


async def test_probes_are_measured_once_for_a_design_and_seed(tmp_path: Path) -> None:
    """The cache answers the second time; another seed is another measurement."""
    ask = request(
        tmp_path, probes=True, probe_cache=str(tmp_path / "probes"), scale=asdict(replace(SCALE, n_tokens=128 * 5))
    )
    first_cage, second_cage = SubprocessCage(), SubprocessCage()
    first = await verify(ask, first_cage)
    second = await verify(ask, second_cage)
    assert PROBE in first_cage.entries and PROBE not in second_cage.entries
    names = {key for key in first.metrics if key.startswith("probe_")}
    assert {"probe_recall", "probe_recall_se", "probe_recall_chance"} <= names
    assert all(first.metrics[name] == second.metrics[name] for name in names)


def test_a_request_with_an_unknown_field_is_refused(tmp_path: Path) -> None:
    data = request(tmp_path).to_json() | {"sede": 1}
    with pytest.raises(ConfigError, match=r"no field 'sede'\. Did you mean 'seed'"):
        VerificationRequest.from_json(data)


def test_the_recipe_hash_is_of_the_recipe_alone(tmp_path: Path) -> None:
    ask = request(tmp_path)
    assert ask.recipe_hash == replace(ask, seed=7, out="elsewhere").recipe_hash
    assert ask.recipe_hash != replace(ask, scale=asdict(replace(SCALE, peak_lr=2e-2))).recipe_hash


def test_progress_of_a_cut_line_is_the_last_whole_one(tmp_path: Path) -> None:
    assert read_progress(tmp_path).stage == ""
    (tmp_path / "training").mkdir()
    (tmp_path / "training" / "progress.jsonl").write_text('{"n_tokens": 5, "loss": 1.5, "tokens_per_s": 9}\n{"n_tok')
    assert read_progress(tmp_path).n_tokens == 5
