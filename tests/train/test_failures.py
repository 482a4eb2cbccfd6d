"""Causes of failures, each from an error that torch or the system really raises."""

from __future__ import annotations

import errno
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from genesys.errors import INFRASTRUCTURE_CAUSES, JobFailed
from genesys.train.failures import failure_of, failure_or_error
from tests.train.test_job import request
from tests.train.warm import ENVIRONMENT


def caught(call: Callable[[], object], filename: str) -> BaseException:
    """What a call raises from code of that name."""
    try:
        exec(compile("call()", filename, "exec"), {"call": call})
    except BaseException as error:
        return error
    raise AssertionError("nothing was raised")


X = torch.ones(2, 3, 4)
SHAPES: dict[str, Callable[[], object]] = {
    "product": lambda: X @ torch.ones(5, 4),
    "linear": lambda: torch.nn.functional.linear(X, torch.ones(4, 5)),
    "vector": lambda: X[0] @ torch.ones(3),
    "sum": lambda: X + torch.ones(5),
    "view": lambda: X.view(5, 5),
    "cat": lambda: torch.cat([X, torch.ones(2, 5, 5)], dim=1),
    "split": lambda: torch.split(X, [1, 1], dim=-1),
    "expand": lambda: X.expand(3, 3, 4),
    "einsum": lambda: torch.einsum("bld,de->ble", X, torch.ones(5, 4)),
    "convolution": lambda: torch.nn.functional.conv1d(X, torch.ones(2, 9, 1)),
    "norm": lambda: torch.nn.functional.rms_norm(X, (5,)),
    "attention": lambda: torch.nn.functional.scaled_dot_product_attention(X, torch.ones(2, 3, 5), X),
    "batched product": lambda: torch.bmm(X, torch.ones(2, 5, 4)),
    "stack": lambda: torch.stack([X, X[:1]]),
    "unflatten": lambda: X.unflatten(-1, (3, -1)),
}


@pytest.mark.parametrize("name", SHAPES)
def test_shapes_that_do_not_fit(name: str) -> None:
    failure = failure_of(caught(SHAPES[name], "<unit Odd 123>"))
    assert failure is not None and failure.cause == "shape" and "Look at the shapes" in str(failure)


def refuse() -> None:
    raise PermissionError(errno.EPERM, "Operation not permitted")


def test_what_a_unit_may_not_do_is_denied_and_what_the_host_may_not_is_not_its_fault() -> None:
    denied = failure_of(caught(refuse, "<unit Odd 123>"))
    assert denied is not None and denied.cause == "denied"
    assert failure_of(caught(refuse, "trainer.py")) is None
    assert failure_or_error(caught(refuse, "trainer.py")).cause == "infrastructure"


FULL: dict[str, Callable[[], object]] = {
    "text": lambda: Path("/dev/full").write_text("x"),
    "pickle": lambda: torch.save(X, "/dev/full"),
}


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full")
@pytest.mark.parametrize("name", FULL)
def test_a_full_disk_is_never_the_designs_fault(name: str) -> None:
    failure = failure_of(caught(FULL[name], "checkpoint.py"))
    assert failure is not None and failure.cause in INFRASTRUCTURE_CAUSES and "Free space" in str(failure)


FILL = """
import json, os, subprocess, sys
ask = json.loads(sys.argv[1])
subprocess.run(["mount", "-t", "tmpfs", "-o", "size=200k", "none", ask["out"]], check=True)
from genesys.errors import JobFailed
from genesys.train.job import train
try:
    train(ask)
except JobFailed as failure:
    print(failure.cause, sorted(name for name in os.listdir(ask["out"]) if not name.startswith(".")))
"""


@pytest.mark.slow
@pytest.mark.parametrize("checkpoint_every_s", [None, 0])
def test_a_training_on_a_full_disk_leaves_nothing_that_passes_for_whole(
    tmp_path: Path, checkpoint_every_s: float | None
) -> None:
    """200 kB hold neither two checkpoints nor, at this width, the weights."""
    unshare = ["unshare", "--user", "--map-root-user", "--mount"]
    if not shutil.which("unshare") or subprocess.run([*unshare, "mount", "-t", "tmpfs", "none", "/mnt"]).returncode:
        pytest.skip("no mount namespace to fill a small disk in")
    shape = {"vocab_size": 257, "d_model": 128, "n_blocks": 1}
    ask = request(tmp_path, "full", shape=shape, checkpoint_every_s=checkpoint_every_s)
    (tmp_path / "full").mkdir()
    command = [*unshare, sys.executable, "-c", FILL, json.dumps(ask)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=200, env=os.environ | ENVIRONMENT)
    assert done.stdout.splitlines()[-1:] == ["infrastructure ['progress.jsonl']"], done.stdout + done.stderr[-2000:]


def test_a_unit_cannot_pass_its_error_off_as_the_hosts() -> None:
    def forge() -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    assert failure_of(caught(forge, "<unit Odd 123>")) is None
    assert failure_or_error(caught(forge, "<unit Odd 123>")).cause == "error"


def test_a_unit_cannot_pass_its_error_off_as_that_of_a_lost_process() -> None:
    def forge() -> None:
        raise RuntimeError("NCCL error: Connection closed by peer")

    assert failure_or_error(caught(forge, "<unit Odd 123>")).cause == "error"
    assert failure_or_error(caught(forge, "engine.py")).cause == "infrastructure"


def test_memory_and_failures_keep_their_causes() -> None:
    memory = failure_of(caught(lambda: torch.ones(1 << 50), "<unit Odd 123>"))
    assert memory is not None and memory.cause == "out-of-memory"
    spike = JobFailed("spike", "up")
    assert failure_of(spike) is spike
    assert failure_of(ZeroDivisionError("x")) is None and failure_or_error(ZeroDivisionError("x")).cause == "error"
