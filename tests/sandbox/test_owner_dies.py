"""A cage whose owner is killed leaves nothing: no process, no control group."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from genesys.sandbox.cgroups import Group

OWNER = """
import asyncio, sys
from genesys.sandbox import ForkCage, Policy

async def main():
    cage = ForkCage(preload=())
    await cage.start()
    jobs = [asyncio.create_task(cage.run("tests.sandbox.entries:sleep", {"seconds": 100}, Policy())) for _ in range(2)]
    await asyncio.sleep(1.5)
    print("ready", flush=True)
    await asyncio.gather(*jobs)

asyncio.run(main())
"""


@pytest.mark.parametrize("with_server", [False, True])
def test_nothing_is_left_of_a_cage_whose_owner_is_killed(with_server: bool) -> None:
    """Ray kills a worker's children with it."""
    owner = subprocess.Popen(
        [sys.executable, "-c", OWNER], stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2]
    )
    assert owner.stdout is not None and owner.stdout.readline() == "ready\n"
    below = psutil.Process(owner.pid).children(recursive=True)
    groups = [folder for process in below for folder in Group.of(process.pid).folders if folder.exists()]
    (server,) = psutil.Process(owner.pid).children()
    owner.kill()
    if with_server:
        server.kill()
    owner.wait()
    _, alive = psutil.wait_procs(below, timeout=20)
    assert not alive
    deadline = time.monotonic() + 5
    while any(folder.exists() for folder in groups) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not [folder for folder in groups if folder.exists()]
