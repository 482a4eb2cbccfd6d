"""Law 16: no actor's process executes a design, and nothing is unpickled there that came out of a cage.

A whole small evolution (seed, proposal, check, training, evaluation) runs through the actors' own classes with a real
cage, in a process that an audit hook watches. The control builds the same design in that process, and the hook sees it.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

_WATCHED = """
import asyncio, json, sys
from pathlib import Path
from types import CodeType

from genesys.gau.library import library

folder, probes = Path(sys.argv[1]), tuple(sys.argv[2:])
seen = {"executed": [], "compiled": [], "unpickled": [], "loaded": []}
unit_names = {unit.name for unit in library().values()}
watching = False


def watch(event, arguments):
    if not watching:
        return
    if event == "exec" and is_unit(arguments[0]):
        seen["executed"].append(arguments[0].co_filename)
    elif event == "compile" and str(arguments[1]).startswith("<unit"):
        seen["compiled"].append(str(arguments[1]))
    elif event == "pickle.find_class":
        seen["unpickled"].append(".".join(map(str, arguments)))
    elif event == "ctypes.dlopen" and str(folder) in str(arguments[0]):
        seen["loaded"].append(str(arguments[0]))


def is_unit(code):
    # by its name, or by a class of a unit's name in a text that is no module's file
    inner = {constant.co_name for constant in code.co_consts if isinstance(constant, CodeType)}
    return code.co_filename.startswith("<unit") or not code.co_filename.endswith(".py") and inner & unit_names


sys.addaudithook(watch)

from genesys.api import Run
from genesys.config import RunConfig
from genesys.gau.library import seed_design
from genesys.ladder import Scale
from genesys.sandbox import ForkCage
from tests.actors.in_process import World
from tests.train.data import small_shards

SCALE = Scale(
    name="tiny", d_model=16, n_blocks=1, context=16, batch_tokens=64, n_tokens=64 * 8, peak_lr=1e-2, embedding_std=0.1,
    probes=probes,
)
CONFIG = RunConfig(ladder=(SCALE,), quotas=(2,), seeds=("gpt",), seed=3)
shards = {path.name: path.read_bytes() for path in small_shards(folder).path.iterdir()}


async def evolve():
    async with ForkCage() as cage:
        world = World(folder / "run", CONFIG, cage=cage, shards=shards)
        await world.start()
        await world.run()


watching = True
asyncio.run(evolve())
of_the_run = {name: list(events) for name, events in seen.items()}
from genesys.model import ModelShape, build_model

build_model(seed_design("gpt"), ModelShape(vocab_size=257, d_model=16, n_blocks=1))
exec(seed_design("gpt").unit.source, {"__name__": "elsewhere"})
watching = False
committed = Run(folder / "run").tree.ledger.account("tiny").committed
print(json.dumps({"run": of_the_run, "control": seen, "committed": committed}))
"""


def test_no_actor_executes_a_design(tmp_path: Path) -> None:
    assert_nothing_executed(watch(tmp_path))


@pytest.mark.slow
def test_no_actor_executes_a_design_that_is_probed(tmp_path: Path) -> None:
    assert_nothing_executed(watch(tmp_path, "recall"))


def assert_nothing_executed(told: dict[str, Any]) -> None:
    assert told["committed"] == 2, "the evolution under watch did not verify its designs"
    assert told["run"] == {"executed": [], "compiled": [], "unpickled": [], "loaded": []}
    executed = told["control"]["executed"]
    assert len(executed) >= 5 and "<string>" in executed, "the hook does not see a design that is built in its process"


def watch(folder: Path, *probes: str) -> dict[str, Any]:
    ended = subprocess.run(
        [sys.executable, "-c", _WATCHED, str(folder), *probes], capture_output=True, text=True, timeout=150, check=False
    )
    assert ended.returncode == 0, ended.stderr[-3000:]
    told: dict[str, Any] = json.loads(ended.stdout.splitlines()[-1])
    return told
