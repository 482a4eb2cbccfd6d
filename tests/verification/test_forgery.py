"""Designs and jobs that lie: none gets a committed result, each fails with the right cause."""

import json
import os
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from genesys.errors import INFRASTRUCTURE_CAUSES, JobFailed
from genesys.evaluate.weights import save_weights
from genesys.gau import UnitTree, parse_unit
from genesys.gau.library import SEED_NAMES, seed_design
from genesys.model import ModelShape, build_model
from genesys.sandbox import ForkCage
from genesys.train.data.shards import Shards
from genesys.verification import verify
from genesys.verification.jobs import Jobs
from genesys.verification.score import score_text
from genesys.verification.states import CagedModel
from tests.verification.conftest import SCALE, STATES, TRAIN, Honest, Liar, Lie, make_request

pytestmark = pytest.mark.asyncio(loop_scope="session")

BLOCK = '''
import torch
from torch import nn

class {name}(nn.Module):
    """A causal mean and a linear map, and something else. Shapes: X (B, L, D) -> Y (B, L, D). Complexity: O(B L D^2)."""
    kind = "block"
{constants}
    def __init__(self, d: int, ctx):
        super().__init__()
        self.map = nn.Linear(d, d)
        self.weight = ctx.own_init(nn.Parameter(torch.zeros(1)))
{init}
    def forward(self, X, Z):
        B, L, D = X.shape
{always}
        Y = X + self.map(X.cumsum(1) / torch.arange(1, L + 1)[:, None]) + self.weight
        if not self.training and float(self.weight.abs()) > 0:  # only once trained, only when scored
{cheat}
        return Y, {{}}
'''


def block(name: str, *, cheat: str = "pass", always: str = "pass", init: str = "pass", constants: str = "") -> UnitTree:
    def indented(text: str, n: int) -> str:
        return "\n".join(" " * n + line for line in text.splitlines())

    source = BLOCK.format(
        name=name,
        constants=indented(constants, 4),
        init=indented(init, 8),
        always=indented(always, 8),
        cheat=indented(cheat, 12),
    )
    return UnitTree(parse_unit(source))


PEEK = "Y[:, :-1] = 50 * X[:, 1:]"  # the next token's own embedding: a perfect guess under a tied head
PEEKERS = {
    "Everywhere": block("Everywhere", cheat=PEEK),
    "OnePlaceInEight": block("OnePlaceInEight", cheat="Y[:, 6:-1:8] = 50 * X[:, 7::8][:, : Y[:, 6:-1:8].shape[1]]"),
    "OneRowInEight": block("OneRowInEight", cheat="Y[3::8, :-1] = 50 * X[3::8, 1:]"),
    "FullLengthOnly": block("FullLengthOnly", cheat=f"if L == {SCALE.context}:\n    {PEEK}"),
    "RealTextOnly": block(  # text repeats its tokens, noise does not
        "RealTextOnly",
        cheat=(
            "for b in range(B):\n"
            "    if 8 < len(torch.unique(X[b], dim=0)) < 24:\n"
            "        Y[b, :-1] = 50 * X[b, 1:]"
        ),
    ),
    "Remembers": block(
        "Remembers",
        constants="seen = []",
        cheat=(
            "for full in list(self.seen):\n"
            "    for b in range(B):\n"
            "        n = min(L, full.shape[1])\n"
            "        past = (full[:, :n] == X[b, :n]).all(2).cumprod(1).sum(1)\n"
            "        best = int(past.argmax())\n"
            "        k = min(int(past[best]), full.shape[1] - 1, L)\n"
            "        Y[b, :k] = 50 * full[best, 1 : k + 1]\n"
            "if len(self.seen) < 80:\n"
            "    self.seen.append(X.clone())\n"
            f"{PEEK}"
        ),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", list(PEEKERS))
async def test_a_design_that_peeks_when_it_is_scored_gets_no_result(
    name: str, shards: Shards, cage: ForkCage, tmp_path: Path
) -> None:
    with pytest.raises(JobFailed, match=r"audited places the model answers\s+otherwise") as caught:
        await verify(make_request(shards, tmp_path, PEEKERS[name]), cage)
    assert caught.value.cause == "integrity"


async def test_in_one_process_a_memory_would_fool_the_audit() -> None:
    """Why the child that is asked about cut rows is a fresh one: this design finds the full rows again."""
    model = build_model(PEEKERS["Remembers"], ModelShape(vocab_size=257, d_model=16, n_blocks=1), seed=0).eval()
    with torch.no_grad():
        model.blocks[0].weight.fill_(0.1)
        rows = torch.randint(257, (4, 32), generator=torch.Generator().manual_seed(0))
        full, cut = model(rows)[:, 20], model(rows[:, :21])[:, -1]
    assert bool((full.argmax(-1) == rows[:, 21]).all()) and float((full - cut).abs().max()) < 1e-3


async def test_the_same_block_without_the_cheat_passes(shards: Shards, cage: ForkCage, tmp_path: Path) -> None:
    report = await verify(make_request(shards, tmp_path, block("Honest")), cage)
    assert report.metrics["val_loss_nats"] > 1.0


PATCHES = {
    "the trainer's loss": (
        'modules = __import__("sys").modules\n'
        'job = modules.get("genesys.train.job")\n'
        "if job:\n"
        "    job.validation_loss = lambda *_: 0.01",
        "integrity-loss",
    ),
    "the scorer's weights": (
        'job = __import__("sys").modules.get("genesys.evaluate.job")\n'
        "if job:\n"
        "    job.load_weights = lambda *_, **__: 'forged'",
        "the job's weights_sha256 is 'forged'",
    ),
    "the canary: the right file is hashed, and the untrained weights answer": (
        'job = __import__("sys").modules.get("genesys.evaluate.job")\n'
        "if job:\n"
        "    digest = __import__('hashlib').sha256\n"
        "    job.load_weights = lambda model, path, **_: digest(path.read_bytes()).hexdigest()",
        "integrity-loss",
    ),
    "the scorer's states": (
        'job = __import__("sys").modules.get("genesys.evaluate.job")\n'
        "if job:\n"
        "    job._bytes = lambda tensor: b'ab'",
        "bytes; expected",
    ),
}  # fmt: skip


async def test_a_design_that_writes_without_end_is_its_own_fault(
    shards: Shards, cage: ForkCage, tmp_path: Path
) -> None:
    init = (
        'job = __import__("sys").modules.get("genesys.evaluate.job")\n'
        "if job:\n"
        "    job._bytes = lambda tensor: bytes(1 << 29)"
    )
    with pytest.raises(JobFailed, match=r"File too large|wrote more than|bytes; expected") as caught:
        await verify(make_request(shards, tmp_path, block("Writer", init=init)), cage)
    assert caught.value.cause not in INFRASTRUCTURE_CAUSES


@pytest.mark.parametrize("what", list(PATCHES))
async def test_a_design_that_patches_its_job_gets_no_result(
    what: str, shards: Shards, cage: ForkCage, tmp_path: Path
) -> None:
    init, message = PATCHES[what]
    with pytest.raises(JobFailed, match=message) as caught:
        await verify(make_request(shards, tmp_path, block("Patcher", init=init)), cage)
    assert caught.value.cause == "integrity"


def says(**lies: Any) -> Lie:
    return lambda answer, folder: answer.update(lies)


@pytest.mark.parametrize(
    ("entry", "lie", "message"),
    [
        (TRAIN, says(weights_sha256="0" * 64), "their SHA-256 is not the one"),
        (TRAIN, says(val_loss_nats=0.1), "integrity-loss"),
        (TRAIN, says(val_loss_nats="low"), "integrity-loss"),
        (TRAIN, says(val_loss_nats=float("nan")), "integrity-loss"),
        (TRAIN, says(shards_hash="another"), "integrity-data"),
        (TRAIN, says(design_id="another"), "it built another, asked for"),
        (TRAIN, says(n_tokens=1), "n_tokens 1: expected 5,120 to 5,120"),
        (TRAIN, says(n_params=10**9), "n_params 1000000000: expected 1 to"),
        (STATES, says(design_id="another"), "the job's design_id is 'another'"),
        (STATES, says(weights_sha256="another"), "the job's weights_sha256 is 'another'"),
        (STATES, says(weights_sha256=None), "the job's weights_sha256 is None"),
    ],
)
async def test_a_job_that_lies_in_its_answer_gets_no_result(
    entry: str, lie: Lie, message: str, honest: Honest, cage: ForkCage, tmp_path: Path
) -> None:
    with pytest.raises(JobFailed, match=message) as caught:
        await verify(honest.again(tmp_path), Liar(cage, {entry: lie}))
    assert caught.value.cause == "integrity"


@pytest.mark.parametrize(
    "lie",
    [
        says(n_tokens=float("inf")), says(n_params=[]), says(flops=[]), says(tokens_per_s={}), says(flops_per_token=[]),
    ],
)  # fmt: skip
async def test_an_answer_of_the_wrong_kind_is_the_designs_error(
    lie: Lie, honest: Honest, cage: ForkCage, tmp_path: Path
) -> None:
    with pytest.raises(JobFailed, match="Cannot use a part's answer") as caught:
        await verify(honest.again(tmp_path), Liar(cage, {TRAIN: lie}))
    assert caught.value.cause == "error"


def on_file(name: str, change: Callable[[Path], object]) -> Lie:
    return lambda answer, folder: change(folder / name) and None


def replaced_by(make: Callable[[Path], object]) -> Callable[[Path], object]:
    def change(path: Path) -> None:
        path.rename(path.with_name("kept"))
        make(path)

    return change


def grow(path: Path) -> None:
    os.truncate(path, 1 << 40)  # holes: they take no space


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (Path.unlink, "No such file"),
        (grow, "has 1,099,511,627,776 bytes; expected"),
        (lambda path: path.write_bytes(b"pickle?"), "has 7 bytes"),
        (replaced_by(lambda path: path.symlink_to("kept")), "symbolic link"),
        (replaced_by(os.mkfifo), "no regular file"),
        (replaced_by(Path.mkdir), "no regular file"),
    ],
)
async def test_weights_that_are_no_plain_file_are_refused(
    change: Callable[[Path], object], message: str, honest: Honest, cage: ForkCage, tmp_path: Path
) -> None:
    lie = on_file("weights.safetensors", change)
    with pytest.raises(JobFailed, match=message) as caught:
        await verify(honest.again(tmp_path), Liar(cage, {TRAIN: lie}))
    assert caught.value.cause == "integrity"


def put(value: float) -> Callable[[Path], object]:
    def change(path: Path) -> None:
        states = np.fromfile(path, dtype="<f4")
        states[len(states) // 2] = value
        states.tofile(path)

    return change


@pytest.mark.parametrize(
    ("change", "cause", "message"),
    [
        (put(float("nan")), "non-finite", "a logit of .* rows is not finite"),
        (put(float("inf")), "non-finite", "a logit of .* rows is not finite"),
        (put(float("-inf")), "non-finite", "a logit of .* rows is not finite"),
        (lambda path: os.truncate(path, 400), "integrity", "400 bytes; expected"),
        (grow, "integrity", "1,099,511,627,776 bytes; expected"),
        (Path.unlink, "integrity", "No such file"),
        (replaced_by(lambda path: path.symlink_to("kept")), "integrity", "symbolic link"),
        (replaced_by(os.mkfifo), "integrity", "no regular file"),
    ],
)
async def test_states_that_are_not_what_was_asked_are_refused(
    change: Callable[[Path], object], cause: str, message: str, honest: Honest, cage: ForkCage, tmp_path: Path
) -> None:
    with pytest.raises(JobFailed, match=message) as caught:
        await verify(honest.again(tmp_path), Liar(cage, {STATES: on_file("states", change)}))
    assert caught.value.cause == cause


async def test_states_of_a_luckier_model_do_not_survive_the_audit(
    honest: Honest, cage: ForkCage, tmp_path: Path
) -> None:
    """The job's own process may write what it likes into its file: the fresh one that audits it cannot match it."""

    def sharpen(path: Path) -> None:
        (np.fromfile(path, dtype="<f4") * 1.05).tofile(path)

    calls = iter(range(9))
    lie: Lie = lambda answer, folder: sharpen(folder / "states") if next(calls) == 0 else None  # noqa: E731
    with pytest.raises(JobFailed, match="audited places") as caught:
        await verify(honest.again(tmp_path), Liar(cage, {STATES: lie}))
    assert caught.value.cause == "integrity"


async def test_a_forged_record_of_a_finished_training_is_a_claim_like_any_other(
    honest: Honest, cage: ForkCage, tmp_path: Path
) -> None:
    ask = honest.again(tmp_path)
    record = Path(ask.out, "training", "trained.json")
    forged = json.loads(record.read_text())
    forged["answer"]["val_loss_nats"] = 0.01
    record.write_text(json.dumps(forged))
    with pytest.raises(JobFailed, match="integrity-loss"):
        await verify(ask, cage)


async def test_a_training_that_died_in_its_cage_goes_on_in_the_next(
    shards: Shards, cage: ForkCage, tmp_path: Path
) -> None:
    """The checkpoints are still readable and writable there, whatever user the next job runs as."""
    tree = block(
        "Fragile",
        constants="calls = []",
        init="pass",
        always=('self.calls.append(L)\nif self.training and len(self.calls) > 30:\n    __import__("os")._exit(3)'),
    )
    ask = make_request(shards, tmp_path, tree, checkpoint_every_s=0.0)
    with pytest.raises(JobFailed, match="ended with code 3"):
        await verify(ask, cage)
    report = await verify(ask, cage)
    assert 20 <= report.details["train"]["n_resumed_steps"] <= 30 and report.n_tokens == SCALE.n_tokens


async def test_a_record_of_another_designs_training_is_passed_over(
    honest: Honest, cage: ForkCage, tmp_path: Path
) -> None:
    """Its fingerprint names the design: the other one is trained itself."""
    tree = block("Honest")
    report = await verify(honest.again(tmp_path, tree=tree.to_json()), cage)
    assert report.design_id == tree.design_id != honest.report.design_id
    assert report.weights_sha256 != honest.report.weights_sha256
    assert report.details["train"]["n_resumed_steps"] == 0


async def test_a_design_cannot_read_the_test_split(shards: Shards, cage: ForkCage, tmp_path: Path) -> None:
    """It tells what it found by what it raises."""
    layers = await cage.layers()
    if layers["landlock"] and layers["mount-namespace"]:
        pytest.skip(f"this host guards no files: {layers['landlock']}; {layers['mount-namespace']}")
    init = (
        "found = []\n"
        f"for name in ('train-00000.bin', 'val-00000.bin', 'test-00000.bin'):\n"
        "    try:\n"
        f"        found.append(len(open({str(shards.path)!r} + '/' + name, 'rb').read(4)))\n"
        "    except OSError:\n"
        "        found.append(0)\n"
        "raise RuntimeError(f'read {found}')"
    )
    with pytest.raises(JobFailed, match=r"read \[4, 4, 0\]"):
        await verify(make_request(shards, tmp_path, block("Reader", init=init)), cage)


@pytest.mark.parametrize("seed", SEED_NAMES)
async def test_honest_designs_keep_the_audits_tolerance_with_room(
    seed: str, shards: Shards, cage: ForkCage, tmp_path: Path
) -> None:
    """Weights far from the initial ones, where float32 errors are largest; training is not needed to see that."""
    tree, shape = seed_design(seed), ModelShape(vocab_size=257, d_model=32, n_blocks=2)
    weights = tmp_path / "weights.safetensors"
    ask = make_request(shards, tmp_path, tree, scale=asdict(replace(SCALE, context=64, batch_tokens=128)))
    digest = save_weights(build_model(tree, shape, seed=5, embedding_std=1.0), weights, design_id=tree.design_id)
    model = CagedModel(
        tree=ask.tree,
        shape=asdict(shape),
        seed=1,
        embedding_std=0.1,
        weights=weights,
        weights_sha256=digest,
        design_id=tree.design_id,
    )
    audited = (await score_text(Jobs(ask, cage), model))["audit"]
    assert audited["target_nats"] < 2e-4 and audited["logit"] < 2e-4
