"""Compiled trainings: the same losses, artefacts that stay with the design, and eager where the compiler fails."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from genesys.gau.library import seed_design
from genesys.train.compilation import keep_artefacts

pytestmark = pytest.mark.slow

COMPARE = """
import sys
import torch
from genesys.gau.library import seed_design
from genesys.model import ModelShape, build_model
from genesys.train import loss as loss_module
from genesys.train.compilation import compile_blocks, keep_artefacts
from genesys.train.loss import NextTokenLoss
from pathlib import Path

loss_module.CHUNK_LOGITS = 61 * 16  # the head in chunks, so that it is compiled too
keep_artefacts(Path(sys.argv[1]), ["a", "b"])
model = build_model(seed_design("gpt"), ModelShape(vocab_size=61, d_model=16, n_blocks=4), seed=0)
loss, rows = NextTokenLoss(model, "fp32"), torch.randint(61, (4, 17))

def step():
    loss.zero_grad()
    value = loss(rows)
    value.backward()
    return value.item(), torch.cat([p.grad.flatten() for p in loss.parameters()])

eager, expected = step()
said = compile_blocks(loss, rows)
compiled, found = step()
print(said[:60])
print(torch._dynamo.utils.counters["stats"]["unique_graphs"])
print(abs(compiled - eager) < 1e-5 and torch.allclose(found, expected, rtol=1e-3, atol=1e-6))
"""


def compare(folder: Path, **environment: str) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-c", COMPARE, str(folder)],
        env=os.environ | {"OMP_NUM_THREADS": "1"} | environment,
        capture_output=True,
        text=True,
        timeout=230,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout.splitlines()


@pytest.mark.skipif(not shutil.which("g++"), reason="inductor wants a C++ compiler")
def test_blocks_share_one_compilation_and_compute_the_same(tmp_path: Path) -> None:
    said, n_graphs, is_equal = compare(tmp_path)
    assert said == "yes" and is_equal == "True"
    assert int(n_graphs) == 3  # a block, the norm, the head's chunk; not one for each of four blocks
    (folder,) = tmp_path.iterdir()
    assert folder.name.startswith("compiled-") and any(folder.rglob("*.cpp"))


def test_without_a_compiler_the_blocks_run_as_they_are(tmp_path: Path) -> None:
    said, _, is_equal = compare(tmp_path, CXX="/nowhere/g++")
    assert said.startswith("no: /nowhere/g++ cannot be run") and is_equal == "True"


@pytest.mark.skipif(not shutil.which("g++"), reason="inductor wants a C++ compiler")
def test_a_compiler_that_fails_is_done_without(tmp_path: Path) -> None:
    broken = tmp_path / "g++"
    broken.write_text('#!/bin/sh\ntest "$1" = --version && exec g++ --version\necho broken >&2; exit 1\n')
    broken.chmod(0o755)
    said, _, is_equal = compare(tmp_path / "out", CXX=str(broken))
    assert said.startswith("no: ") and is_equal == "True"


def test_artefacts_lie_apart_by_design_and_torch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("TORCHINDUCTOR_CACHE_DIR", "TRITON_CACHE_DIR"):
        monkeypatch.setenv(name, "")
    ids = [unit.id for unit in seed_design("gpt").units()]
    folder = keep_artefacts(tmp_path, ids)
    assert folder == keep_artefacts(tmp_path, reversed(ids)) and folder.parent == tmp_path
    assert Path(os.environ["TORCHINDUCTOR_CACHE_DIR"]).parent == folder
    assert keep_artefacts(tmp_path, ids[1:]) != folder
    monkeypatch.setattr(torch, "__version__", "0.1")
    assert keep_artefacts(tmp_path, ids) != folder
