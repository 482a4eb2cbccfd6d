"""A whole verification through the cage: what it gives, what its jobs may touch, and what makes it fail."""

import asyncio
import json
import os
import shutil
import sys
import time
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from genesys.errors import ConfigError, JobFailed
from genesys.evaluate.splits import SplitFiles, open_splits
from genesys.gau.library import seed_design
from genesys.ladder import CPU_SCALES
from genesys.sandbox import ForkCage
from genesys.train.data.shards import Shards, prepare_shards
from genesys.verification import VerificationReport, VerificationRequest, read_progress, verify
from tests.verification.conftest import PROBE, SCALE, STATES, TRAIN, Honest, Liar, make_request

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_a_verification_gives_a_report_that_survives_json(honest: Honest) -> None:
    report, metrics = honest.report, honest.report.metrics
    assert report.design_id == seed_design("gpt").design_id and report.scale == "tiny" and report.n_tokens == 128 * 40
    assert metrics["test_bpb"] < metrics["unigram_bpb"] and metrics["test_bpb_se"] > 0
    assert metrics["val_loss_nats"] < metrics["untrained_val_loss_nats"]
    assert report.details["evaluate"]["audit"]["n_places"] >= 100
    assert set(report.cage) >= {"landlock", "seccomp", "pid-namespace"}
    assert VerificationReport.from_json(json.loads(json.dumps(report.to_json()))) == report
    seen = read_progress(honest.request.out)
    assert seen.stage == "evaluate" and seen.n_tokens == report.n_tokens and seen.tokens_per_s > 0


async def test_figures_repeat_though_the_audits_places_do_not(honest: Honest, cage: ForkCage, tmp_path: Path) -> None:
    again = await verify(honest.again(tmp_path), cage)
    assert again.metrics == honest.report.metrics and again.weights_sha256 == honest.report.weights_sha256


async def test_a_folder_may_be_given_by_its_relative_name(
    honest: Honest, cage: ForkCage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    spy = Liar(cage)
    report = await verify(replace(honest.again(tmp_path), out="out"), spy)
    assert spy.policies[0].writable == (str(tmp_path / "out" / "training"),)
    assert report.metrics == honest.report.metrics


async def test_each_job_may_touch_what_it_needs(honest: Honest, cage: ForkCage, tmp_path: Path) -> None:
    """Decisions.md 9: train and val for the training, rows and weights for the scoring, nothing for the probes."""
    spy, stages = Liar(cage), list[str]()
    scale = asdict(SCALE) | {"probes": ["recall"]}
    await verify(honest.again(tmp_path, probes=True, scale=scale), spy, on_progress=stages.append)
    assert stages == ["train", "evaluate", "probe"]
    assert spy.entries == [TRAIN, STATES, STATES, PROBE, STATES, STATES]
    names = [{Path(path).name for path in policy.readable} for policy in spy.policies]
    assert names[0] == {
        "manifest.json", "tokenizer.json", "train-00000.bin", "train.counts.bin", "val-00000.bin", "val.offsets.bin",
        "val.bytes.bin",
    }  # fmt: skip
    assert [names[i] - {"rows", "places"} for i in (1, 2, 4, 5)] == [{"weights.safetensors"}] * 2 + [
        {"recall.safetensors"}
    ] * 2 and names[3] == set()
    folders = [policy.writable for policy in spy.policies]
    assert folders[0] == (str(tmp_path / "out" / "training"),)
    assert len(set(folders)) == 6, "no job can write where another one reads"


async def test_states_in_several_jobs_give_the_same_figures(
    honest: Honest, cage: ForkCage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each job's states stay below the cap; no row, target or picked place gets lost between them."""
    monkeypatch.setattr("genesys.verification.states.MAX_JOB_BYTES", 1)
    spy = Liar(cage)
    again = await verify(honest.again(tmp_path), spy)
    assert spy.entries.count(STATES) > 6 and all(policy.file_mb == 1 for policy in spy.policies[1:])
    assert again.metrics == pytest.approx(honest.report.metrics, abs=1e-6)


@pytest.mark.slow
async def test_gpt_on_the_first_rung_beats_the_unigram_model_by_a_bit(cage: ForkCage, tmp_path: Path) -> None:
    scale, shards = CPU_SCALES[0], prepare_shards("python-docs", tmp_path)
    shape = {"vocab_size": shards.vocab_size, "d_model": scale.d_model, "n_blocks": scale.n_blocks}
    metrics = (await verify(make_request(shards, tmp_path, scale=asdict(scale), shape=shape), cage)).metrics
    assert metrics["test_bpb"] < metrics["unigram_bpb"] - 1.0


async def test_no_part_starts_after_the_deadline(shards: Shards, cage: ForkCage, tmp_path: Path) -> None:
    spy = Liar(cage)
    with pytest.raises(JobFailed, match="are over") as caught:
        await verify(make_request(shards, tmp_path, deadline_s=0.0), spy)
    assert caught.value.cause == "timeout" and spy.entries == []


@pytest.mark.parametrize(
    "name", ["train-00000.bin", "train.counts.bin", "val-00000.bin", "test-00000.bin", "tokenizer.json"]
)
async def test_a_changed_byte_of_the_shards_is_found_before_anything_is_trained(
    name: str, honest: Honest, cage: ForkCage, tmp_path: Path
) -> None:
    copy = Path(shutil.copytree(honest.request.shards, tmp_path / "shards"))
    data = bytearray((copy / name).read_bytes())
    data[len(data) // 2] ^= 1
    (copy / name).write_bytes(data)
    spy = Liar(cage)
    with pytest.raises(JobFailed, match=f"{name}: its content is not what the manifest says") as caught:
        await verify(replace(honest.request, shards=str(copy), out=str(tmp_path / "out")), spy)
    assert caught.value.cause == "infrastructure" and spy.entries == []


async def test_shards_are_read_once_until_a_file_changes(
    honest: Honest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy, read = Path(shutil.copytree(honest.request.shards, tmp_path / "shards")), list[str]()
    real = SplitFiles._read
    monkeypatch.setattr(SplitFiles, "_read", lambda self, name: read.append(name) or real(self, name))
    open_splits(copy).check()
    n_files = len(read)
    open_splits(copy).check()
    assert n_files == len(open_splits(copy).manifest["files"]) == len(read)
    os.utime(copy / "train-00000.bin", ns=(time.time_ns() + 10**9,) * 2)
    open_splits(copy).check()
    assert len(read) == 2 * n_files


async def test_a_folder_that_cannot_be_written_is_the_hosts_fault(
    honest: Honest, cage: ForkCage, tmp_path: Path
) -> None:
    (tmp_path / "out").write_text("a file where the folder should be")
    with pytest.raises(JobFailed, match="Cannot verify on this host") as caught:
        await verify(replace(honest.request, out=str(tmp_path / "out")), cage)
    assert caught.value.cause == "infrastructure"


async def test_probes_are_measured_once_for_a_design_and_seed(honest: Honest, cage: ForkCage, tmp_path: Path) -> None:
    """The cache answers the second time; another seed is another measurement."""
    scale = asdict(SCALE) | {"probes": ["recall"]}
    ask = honest.again(tmp_path, probes=True, probe_cache=str(tmp_path / "probes"), scale=scale)
    first_spy, second_spy = Liar(cage), Liar(cage)
    first, second = await verify(ask, first_spy), await verify(ask, second_spy)
    assert PROBE in first_spy.entries and PROBE not in second_spy.entries
    names = {key for key in first.metrics if key.startswith("probe_")}
    assert names == {"probe_recall", "probe_recall_se", "probe_recall_chance"}
    assert all(first.metrics[name] == second.metrics[name] for name in names)
    assert (
        first.metrics["probe_recall"] >= 0.9 and first.details["probe"]["probes"]["recall"]["audit"]["n_places"] == 128
    )


async def test_a_request_with_an_unknown_field_is_refused(honest: Honest) -> None:
    with pytest.raises(ConfigError, match=r"no field 'sede'\. Did you mean 'seed'"):
        VerificationRequest.from_json(honest.request.to_json() | {"sede": 1})


async def test_the_recipe_hash_is_of_the_recipe_alone(honest: Honest) -> None:
    ask = honest.request
    assert ask.recipe_hash == replace(ask, seed=7, out="elsewhere").recipe_hash
    assert ask.recipe_hash != replace(ask, scale=asdict(replace(SCALE, peak_lr=2e-2))).recipe_hash


async def test_the_trusted_side_imports_no_torch() -> None:
    code = "import sys, genesys.verification, genesys.testing.null_cage; sys.exit('torch' in sys.modules)"
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", code)
    assert await asyncio.wait_for(process.wait(), 60) == 0
