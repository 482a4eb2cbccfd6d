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

_WATCHED = """
import asyncio, gc, json, sys
from pathlib import Path

seen = {"executed": [], "compiled": [], "unpickled": [], "loaded": []}
folder = Path(sys.argv[1])
watching = False


def watch(event, arguments):
    if not watching:
        return
    if event == "exec" and arguments[0].co_filename.startswith("<unit"):
        seen["executed"].append(arguments[0].co_filename)
    elif event == "compile" and str(arguments[1]).startswith("<unit"):
        seen["compiled"].append(str(arguments[1]))
    elif event == "pickle.find_class":
        seen["unpickled"].append(".".join(map(str, arguments)))
    elif event in ("ctypes.dlopen", "marshal.loads") and str(folder) in str(arguments[0]):
        seen["loaded"].append(str(arguments[0]))


sys.addaudithook(watch)

from genesys.config import RunConfig
from genesys.config.run import DesignersConfig
from genesys.gau.library import seed_design
from genesys.ladder import Scale
from genesys.sandbox import ForkCage
from tests.actors.in_process import World
from tests.train.data import small_shards

SCALE = Scale(
    name="tiny", d_model=16, n_blocks=1, context=16, batch_tokens=64, n_tokens=64 * 8, peak_lr=1e-2, embedding_std=0.1
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
watching = False
from genesys.api import Run

run = Run(folder / "run")
account = run.tree.ledger.account("tiny")
print(json.dumps({"run": of_the_run, "control": seen, "committed": account.committed, "designs": len(list(run.tree))}))
"""


def test_no_actor_executes_a_design(tmp_path: Path) -> None:
    told = _watch(tmp_path)
    assert told["committed"] == 2, "the evolution under watch did not verify its designs"
    assert told["run"]["executed"] == [] and told["run"]["compiled"] == []
    assert told["run"]["loaded"] == []
    assert [name for name in told["run"]["unpickled"] if not _of_the_standard_library(name)] == []
    assert len(told["control"]["executed"]) >= 4, "the hook does not see a design that is built in its process"


def _of_the_standard_library(name: str) -> bool:
    return name.partition(".")[0] in sys.stdlib_module_names and not name.startswith(("os.", "posix.", "subprocess."))


def _watch(folder: Path) -> dict[str, Any]:
    ended = subprocess.run(
        [sys.executable, "-c", _WATCHED, str(folder)], capture_output=True, text=True, timeout=150, check=False
    )
    assert ended.returncode == 0, ended.stderr[-3000:]
    told: dict[str, Any] = json.loads(ended.stdout.splitlines()[-1])
    return told
